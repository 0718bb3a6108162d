"""The formula of a ``multi`` grader: arithmetic over the rewards of its graders, and nothing else.

    expression = term {("+" | "-") term}
    term       = unary {("*" | "/") unary}
    unary      = "-" unary | power
    power      = atom ["^" unary]
    atom       = number | name | name "(" expression {"," expression} ")" | "(" expression ")"

So ``^`` is right-associative and binds above unary minus. Everything is computed in floats; a result that is
not finite is an error, which also keeps huge powers cheap.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

MAX_CHARACTERS = 2_000
MAX_DEPTH = 50

FUNCTIONS: dict[str, Callable[..., float]] = {
    "min": lambda *values: min(values),
    "max": lambda *values: max(values),
    "abs": abs,
    "floor": math.floor,
    "ceil": math.ceil,
    "exp": math.exp,
    "sqrt": math.sqrt,
    "log": math.log,
}
_VARIADIC = {"min", "max"}
_OPERATORS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}
_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<name>[A-Za-z_]\w*)|(?P<mark>[-+*/^(),]))",
    re.ASCII,
)
Node = Callable[[Mapping[str, float]], float]


class FormulaInvalid(ValueError):
    """The text is no formula; the message says why and where."""


class FormulaFailed(ArithmeticError):
    """The formula has no finite value for these rewards."""


@dataclass(frozen=True)
class Formula:
    """A parsed formula. ``names`` are the variables it uses."""

    text: str
    names: frozenset[str]
    node: Node

    def value(self, variables: Mapping[str, float]) -> float:
        """Return the value. Raises ``FormulaFailed`` for division by zero, overflow, or outside a domain."""
        try:
            return self.node(variables)
        except (ArithmeticError, ValueError) as error:
            raise FormulaFailed(f"{self.text!r} has no value here: {error}") from error


def parse_formula(text: str) -> Formula:
    """Return the formula. Raises ``FormulaInvalid``."""
    if len(text) > MAX_CHARACTERS:
        raise FormulaInvalid(f"a formula has at most {MAX_CHARACTERS} characters, this one {len(text)}")
    parser = _Parser(_tokenize(text))
    node = parser.expression()
    if parser.kind != "end":
        raise FormulaInvalid(f"unexpected {parser.text!r} at character {parser.position}")
    return Formula(text, frozenset(parser.names), node)


def _tokenize(text: str) -> list[tuple[str, str, int]]:
    """Return kind, text and position (1-based) of every token; the last is ``end``."""
    found: list[tuple[str, str, int]] = []
    at, end = 0, len(text.rstrip())
    while at < end:
        token = _TOKEN.match(text, at)
        if token is None:
            position = at + len(text[at:]) - len(text[at:].lstrip())
            raise FormulaInvalid(f"unexpected {text[position]!r} at character {position + 1}")
        kind = token.lastgroup or ""
        found.append((kind, token[kind], token.start(kind) + 1))
        at = token.end()
    return [*found, ("end", "end of formula", end + 1)]


class _Parser:
    """One method a rule of the grammar above; each returns a function of the variables."""

    def __init__(self, tokens: list[tuple[str, str, int]]) -> None:
        self._tokens = iter(tokens)
        self._depth = 0
        self.names: set[str] = set()
        self._next()

    def _next(self) -> None:
        self.kind, self.text, self.position = next(self._tokens)

    def _take(self, *marks: str) -> str | None:
        """Return the current token's text and advance, if it is one of ``marks``; else return None."""
        if self.kind != "mark" or self.text not in marks:
            return None
        taken = self.text
        self._next()
        return taken

    def _expect(self, mark: str) -> None:
        if self._take(mark) is None:
            raise FormulaInvalid(f"expected {mark!r} at character {self.position}, found {self.text!r}")

    def expression(self) -> Node:
        return self._chain(self._term, "+", "-")

    def _term(self) -> Node:
        return self._chain(self._unary, "*", "/")

    def _chain(self, part: Callable[[], Node], *marks: str) -> Node:
        first = part()
        rest: list[tuple[Callable[[float, float], float], Node]] = []
        while mark := self._take(*marks):
            rest.append((_OPERATORS[mark], part()))
        return _fold(first, rest) if rest else first

    def _unary(self) -> Node:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise FormulaInvalid(f"nested more than {MAX_DEPTH} levels deep at character {self.position}")
        node = _negate(self._unary()) if self._take("-") else self._power()
        self._depth -= 1
        return node

    def _power(self) -> Node:
        base = self._atom()
        return _raise_to(base, self._unary()) if self._take("^") else base

    def _atom(self) -> Node:
        kind, text, position = self.kind, self.text, self.position
        if self._take("("):
            node = self.expression()
            self._expect(")")
            return node
        if kind not in ("number", "name"):
            raise FormulaInvalid(f"expected a number, a name or '(' at character {position}, found {text!r}")
        self._next()
        if kind == "number":
            return _build_constant(text, position)
        return self._call(text, position) if self._take("(") else self._variable(text, position)

    def _variable(self, name: str, position: int) -> Node:
        if name in FUNCTIONS:
            raise FormulaInvalid(f"expected '(' behind {name} at character {position}")
        self.names.add(name)
        return lambda variables: variables[name]

    def _call(self, name: str, position: int) -> Node:
        if name not in FUNCTIONS:
            known = ", ".join(FUNCTIONS)
            raise FormulaInvalid(f"unknown function {name!r} at character {position}; known: {known}")
        arguments = [self.expression()]
        while self._take(","):
            arguments.append(self.expression())
        self._expect(")")
        if len(arguments) > 1 and name not in _VARIADIC:
            raise FormulaInvalid(f"{name} takes one argument, found {len(arguments)} at character {position}")
        return _apply(FUNCTIONS[name], arguments)


def _check_finite(value: float) -> float:
    if not math.isfinite(value):
        raise OverflowError("the number is too large")
    return value


def _build_constant(text: str, position: int) -> Node:
    value = float(text)
    if not math.isfinite(value):
        raise FormulaInvalid(f"{text} at character {position} is too large")
    return lambda _: value


def _negate(node: Node) -> Node:
    return lambda variables: -node(variables)


def _raise_to(base: Node, exponent: Node) -> Node:
    return lambda variables: math.pow(base(variables), exponent(variables))


def _apply(function: Callable[..., float], arguments: list[Node]) -> Node:
    return lambda variables: float(function(*(argument(variables) for argument in arguments)))


def _fold(first: Node, rest: list[tuple[Callable[[float, float], float], Node]]) -> Node:
    def fold(variables: Mapping[str, float]) -> float:
        value = first(variables)
        for apply, node in rest:
            value = _check_finite(apply(value, node(variables)))
        return value

    return fold
