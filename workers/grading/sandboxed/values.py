"""Runs inside the sandbox: reads a final answer as a mathematical value.

Numbers that are written out become exact fractions; what is no number is read by latex2sympy.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import sympy
from latex2sympy2_extended.latex2sympy2 import NormalizationConfig, latex2sympy, normalize_latex

from workers.grading.sandboxed.quantities import Number, Unreadable, read_number

MAX_CHARACTERS, MAX_DEPTH = 2_000, 30
OPENING, CLOSING = "([{", ")]}"
# Evaluating it would take all the memory there is.
HUGE = re.compile(r"\^\s*\{?\s*-?\d{5}|\d{5,}\s*!")
NORMAL = NormalizationConfig(
    basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="none", equations=False
)


@dataclass(frozen=True)
class Expression:
    value: Any
    decimal: bool = False


@dataclass(frozen=True)
class Words:
    text: str


@dataclass(frozen=True)
class Clock:
    parts: tuple[str, ...]


@dataclass(frozen=True)
class Listing:
    """``brackets`` are ``()``, ``[)``, …, ``{}`` for a set, or empty for a bare list."""

    brackets: str
    items: tuple[Any, ...]


@dataclass(frozen=True)
class Union:
    items: tuple[Any, ...]


@dataclass(frozen=True)
class Named:
    """``name = value``, where the name is one letter or a function of it."""

    name: str
    value: Any


@dataclass(frozen=True)
class Equation:
    left: Any
    right: Any
    ends_in: Any


@dataclass(frozen=True)
class Relations:
    """A chain such as ``1 < x <= 3``: sides and the operators between them."""

    sides: tuple[Any, ...]
    operators: tuple[str, ...]


# --- reading ---------------------------------------------------------------------------------------

SPELLINGS = {
    "−": "-", "–": "-", "×": r"\times ", "·": r"\cdot ", "÷": "/", "π": r"\pi ", "√": r"\sqrt",
    "∞": r"\infty ", "≤": r"\le ", "≥": r"\ge ",
    "≠": r"\ne ", "≈": r"\approx ", "±": r"\pm ", "∓": r"\mp ", "∪": r"\cup ",
    "∈": r"\in ", "²": "^{2}", "³": "^{3}", "½": r"\frac{1}{2}", "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}",
    "⅓": r"\frac{1}{3}", "⅔": r"\frac{2}{3}", "…": r"\ldots ", "°": r"^\circ", "\u00a0": " ", "\u202f": " ",
    "\u2009": " ", "，": ", ", "：": ":", "（": "(", "）": ")",
}  # fmt: skip
_SPELLING = re.compile("|".join(map(re.escape, SPELLINGS)))
COMMANDS = "sqrt|pi|sin|cos|tan|log|ln|exp|infinity|inf|theta|alpha|beta"
PERCENT = "(?:percentage|percent|pct)"
_SUBSTITUTIONS = [
    (re.compile(pattern), by)
    for pattern, by in (
        (r"\\(?:left|right|bigl|bigr|Bigl|Bigr|big|Big|displaystyle|textstyle|limits)(?![a-zA-Z])", ""),
        (r"(?<!\\)\\[(\[)\]]", " "),
        (r"(?<!\\)\$", ""),
        (r"\s*\{\s*,\s*\}\s*|,\\!\s*", ","),
        (r"(?<!\\)\\[,;:! ]|(?<!\\)~|\\q?quad(?![a-zA-Z])", " "),
        (r"\\[dtc]frac", r"\\frac"),
        (r"\\(?:math(?:rm|bf|it)|operatorname|mbox|text(?:normal|bf|it|rm)|rm|bf)\s*(?=\{)", r"\\text"),
        (r"\\text\{\s*(?:and|or)\s*\}|(?<![A-Za-z\\])(?:and|or)(?![A-Za-z])", " , "),
        (r"\\text\{\s*(?:e|i)\s*\}", lambda m: m[0][-2]),
        (r"\\l?dots[bcmio]?(?![a-zA-Z])|\\cdots(?![a-zA-Z])|\.\.\.", r" \\ldots "),
        (r"\\leq?(?![a-zA-Z])|\\leqslant|<=|=<", " ≤ "),
        (r"\\geq?(?![a-zA-Z])|\\geqslant|>=", " ≥ "),
        (r"\\neq?(?![a-zA-Z])|!=", " ≠ "),
        (r"\\lt(?![a-zA-Z])", " < "),
        (r"\\gt(?![a-zA-Z])", " > "),
        (r"\\(?:approx|simeq|sim)(?![a-zA-Z])|~=", " ≈ "),
        (r"\\l(?:brace)(?![a-zA-Z])", r"\\{"),
        (r"\\rbrace(?![a-zA-Z])", r"\\}"),
        (r"\\sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}"),
        (rf"(?<![\\A-Za-z])({COMMANDS})(?![A-Za-z])", r"\\\1 "),
        (r"\\inf(?:inity)?(?![a-zA-Z])", r"\\infty"),
        (r"\\sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}"),
        (r"\*\*", "^"),
        (r"(?<![\w\\.])(\d)\s*[x*]\s*10\s*\^", r"\1 \\times 10^"),
        (rf"\\?%|(?<=\d)\s*{PERCENT}(?![a-zA-Z])|\\text\{{\s*{PERCENT}\s*\}}", "%"),
        (r"\^\{?\s*\\circ\s*\}?|\\degree", r" \\text{degrees}"),
    )
]  # fmt: skip
CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?\s*(?:([ap])\.?\s*m\.?)?", re.IGNORECASE)
RATIO = re.compile(r"(\d+(?:\.\d+)?)\s*(?::|\\colon)\s*(\d+(?:\.\d+)?)")
NAME = re.compile(r"(?:\\?[A-Za-z]+(?:_(?:\{[^{}]*\}|\w))?'?|\\?[A-Za-z]\s*\([^()=]*\))")
WORDS = re.compile(r"(?:\\text\{\s*([^{}]*?)\s*\}|([^\W\d_]{3,}))\.?")
MATRIX = re.compile(r"\\begin\{([pbvB]?matrix|array)\}")


def _deep(text: str) -> bool:
    depth = most = 0
    for character in text:
        depth += (character in OPENING) - (character in CLOSING)
        most = max(most, depth)
    return most > MAX_DEPTH


def respell(text: str) -> str:
    """Return the text with LaTeX's spelling of non-ASCII signs."""
    return _SPELLING.sub(lambda match: SPELLINGS[match[0]], text)


@lru_cache(maxsize=2048)
def read(text: str) -> Any:
    """Return the value of the text. Raises ``Unreadable``."""
    if len(text) > MAX_CHARACTERS:
        raise Unreadable("it is too long")
    if _deep(text):
        raise Unreadable("it is nested too deeply")
    if HUGE.search(text):
        raise Unreadable("an exponent is too large")
    text = respell(text.strip().replace(r"\$", ""))
    for pattern, by in _SUBSTITUTIONS:
        text = pattern.sub(by, text)
    return _value(re.sub(r"\s+", " ", text).strip(" ,;"))


def _value(text: str) -> Any:
    text = re.sub(r"(?<![.\s])\s*\.$", "", text.strip())
    if not text:
        raise Unreadable("it is empty")
    number = read_number(text)
    if number is not None:
        return number
    if r"\pm" in text or r"\mp" in text:
        return _both_signs(text)
    members = re.fullmatch(r"[A-Za-z]\s*\\in(?![a-z])\s*(.+)", text, re.DOTALL)
    if members:
        return _value(members[1])
    for reader in (_clock, _list, _related, _union, _bracketed, _words):
        value = reader(text)
        if value is not None:
            return value
    return _expression(text)


def _both_signs(text: str) -> Named | Listing:
    """Return both values of ``a ± b``."""
    plus = _value(text.replace(r"\pm", "+").replace(r"\mp", "-"))
    minus = _value(text.replace(r"\pm", "-").replace(r"\mp", "+"))
    items = [*_items(plus), *_items(minus)]
    names = {item.name for item in items if isinstance(item, Named)}
    listed = Listing("{}", tuple(item.value if isinstance(item, Named) else item for item in items))
    return Named(names.pop(), listed) if len(names) == 1 else listed


def _items(value: Any) -> Sequence[Any]:
    return value.items if isinstance(value, Listing) and value.brackets in ("", "{}") else (value,)


def _clock(text: str) -> Clock | Number | None:
    """Read ``12:05`` as a time of day, ``3:4`` as a ratio."""
    if time := CLOCK.fullmatch(text):
        half = (time[4] or "").lower()
        return Clock((str(int(time[1])), time[2], time[3] or "00", half))
    ratio = RATIO.fullmatch(text)
    if ratio and sympy.Rational(ratio[2]):
        return Number(sympy.Rational(ratio[1]) / sympy.Rational(ratio[2]), unit="ratio")
    return None


def _list(text: str) -> Any:
    """Read a bare list ``1, 2, 3``; ``n = 1, 2, 3`` names all of them."""
    parts = [part for part in _split(text, ",;") if part.strip()]
    if len(parts) < 2:
        return None
    values = tuple(_ellipsis(part) or _value(part) for part in parts)
    names = {value.name for value in values if isinstance(value, Named)}
    if len(names) == 1 and isinstance(values[0], Named):
        items = tuple(value.value if isinstance(value, Named) else value for value in values)
        return Named(names.pop(), Listing("", items))
    return Listing("", values)


def _ellipsis(text: str) -> Words | None:
    return Words("…") if text.strip() == r"\ldots" else None


def _split(text: str, separators: str) -> list[str]:
    """Split outside of brackets. A closing bracket may be of another kind: ``[0, 1)``."""
    parts, depth, start = [], 0, 0
    for at, character in enumerate(text):
        if character in OPENING:
            depth += 1
        elif character in CLOSING:
            depth -= 1
        elif depth == 0 and character in separators:
            parts.append(text[start:at])
            start = at + 1
    return [*parts, text[start:]]


_RELATION = re.compile(r"[=<>≤≥≠≈]")


def _related(text: str) -> Any:
    """Read equations and inequalities."""
    sides = _split(text, "=<>≤≥≠≈")
    if len(sides) < 2 or MATRIX.search(text):
        return None
    operators, at = [], -1
    for side in sides[:-1]:
        at += len(side) + 1
        operators.append(text[at])
    return _assigned(sides, operators) if set(operators) <= {"=", "≈"} else _inequality(sides, operators)


def _assigned(sides: list[str], operators: list[str]) -> Any:
    """Return the last exact side: ``x = 2/6 = 1/3 ≈ 0.33`` is 1/3."""
    exact = operators.index("≈") if "≈" in operators[1:] else len(operators)
    first, last = sides[0].strip(), sides[exact]
    if not first:
        return _value(last)
    if NAME.fullmatch(first):
        return Named(re.sub(r"[\s\\{}]", "", first), _value(last))
    left, value = _value(first), _value(last)
    if isinstance(left, Listing):
        return Named(re.sub(r"\s", "", first), value)
    if isinstance(left, Expression | Number) and isinstance(value, Expression | Number):
        known = not (left.value.free_symbols or value.value.free_symbols)
        return value if known else Equation(left.value, value.value, value)
    raise Unreadable("an equation of this kind cannot be read")


def _inequality(sides: list[str], operators: list[str]) -> Relations:
    values = [_value(side) for side in sides]
    if not all(isinstance(value, Expression | Number) for value in values):
        raise Unreadable("an inequality of this kind cannot be read")
    return Relations(tuple(value.value for value in values), tuple(operators))


def _union(text: str) -> Union | None:
    parts = re.split(r"\\cup(?![a-z])", text)
    return Union(tuple(_value(part) for part in parts)) if len(parts) > 1 else None


def _bracketed(text: str) -> Any:
    """Read tuples, intervals and sets; brackets around one value mean nothing."""
    inner = text.removeprefix("\\").removesuffix("\\}") if text.endswith("\\}") else text
    braces = text.startswith("\\{") and text.endswith("\\}")
    if braces:
        return Listing("{}", _members(text[2:-2]))
    if text[0] not in OPENING or text[-1] not in CLOSING or not _encloses(inner):
        return None
    inside = text[1:-1].strip()
    if text[0] == "{" and text[-1] == "}":
        return _value(inside)
    parts = _split(inside, ",;")
    if len(parts) == 1:
        return _value(inside) if text[0] + text[-1] == "()" else Listing(text[0] + text[-1], _members(inside))
    return Listing(text[0] + text[-1], _members(inside))


def _members(inside: str) -> tuple[Any, ...]:
    return tuple(_ellipsis(part) or _value(part) for part in _split(inside, ",;") if part.strip())


def _encloses(text: str) -> bool:
    """Return True if the first bracket closes at the end."""
    depth = 0
    for at, character in enumerate(text):
        depth += (character in OPENING) - (character in CLOSING)
        if depth == 0:
            return at == len(text) - 1
    return False


def _words(text: str) -> Any:
    match = WORDS.fullmatch(text)
    if match and match[1] and any(character.isdigit() for character in match[1]):
        return _value(match[1])
    return Words(" ".join((match[1] or match[2] or "").casefold().strip("()").split())) if match else None


def _expression(text: str) -> Any:
    """Read an expression by latex2sympy. Raises ``Unreadable``."""
    bare = re.sub(r"\\(?:text|begin|end)\{[^{}]*\}|\\[A-Za-z]+", " ", text)
    if re.search(r"[^\W\d_]{3,}", bare) or "\\ldots" in text or re.search(r"[^\x00-\x7f]", text):
        raise Unreadable("it holds words")
    text = re.sub(r"(?<=[\d})])\s*\\text\{[^{}]*\}(?:\^\{?\d\}?)?\s*$", "", text)
    if re.search(r"\\text\{", text) is None and re.search(r"(?<![_\d])\d+\s+\d", text):
        raise Unreadable("two numbers stand side by side")
    decimal = re.search(r"\d\.\d|(?<!\d)\.\d", text) is not None
    try:
        value = latex2sympy(
            normalize_latex(text, config=NORMAL),
            is_real=True,
            convert_degrees=False,
            normalization_config=None,
        )
    except Exception as error:
        raise Unreadable("it is no formula") from error
    if not isinstance(value, sympy.Expr | sympy.MatrixBase):
        raise Unreadable("it is no value")
    return Expression(value, decimal)
