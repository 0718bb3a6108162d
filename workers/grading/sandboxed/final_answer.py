"""Runs inside the sandbox: finds the final answer of a solution written in prose, Markdown or LaTeX."""

import re
from collections.abc import Iterator
from typing import NamedTuple

# Longer texts are read from their end: a final answer stands there.
MAX_READ = 16_000
MAX_RUN, MOST_MARKS = 400, 6
LAST_MARKS = 12
BETWEEN_BOXES = r"(?:[^\S\n]|\$|\\[()\[\]]|\*\*|[,;&~]|and|or|\\text\{\s*(?:and|or)\s*\}|\\q?quad)*"
TAGGED = re.compile(r"<(answer|final_answer|final)\b[^>]*>(.*?)(?:</\1\s*>|\Z)", re.DOTALL | re.IGNORECASE)
BOX = re.compile(r"\\(?:boxed|fbox)\s*(?=\{|[^\s{])")
WORD = r"(?:answers?|antwort|réponse|respuesta|risposta|resposta|ответ|答案|答え)"
MARKER = re.compile(
    rf"(?:(?<![\w\\]){WORD}(?![\w])|答案|答え)(?P<between>[^.\n:=：]{{0,80}}?)"
    r"(?:\s*[*_]{0,3}\s*[:：=]\s*[*_]{0,3}|\s+(?:is|are|ist|lautet|est|es|è|é)\b\s*[:：]?|[是为は]|[*_#\s]*\n+)"
    r"|^\s*#{4}(?!#)\s*",
    re.IGNORECASE | re.MULTILINE,
)
FORMULA = re.compile(
    r"(?<!\\)\$\$(?P<display>.{1,2000}?)(?<!\\)\$\$"
    r"|\\\[(?P<bracket>.{1,2000}?)\\\]"
    r"|\\\((?P<paren>.{1,1000}?)\\\)"
    r"|(?<![\\\w])\$(?P<inline>(?! )(?:\\.|[^$\n\\]){0,500}?[^\s\\$]\s?)\$(?!\d)"
    r"|(?<![\\\w])\$ (?P<spaced>[^$\n]{1,500}?) \$(?!\d)",
    re.DOTALL,
)
# Bounded, so that a text made of marks alone is read in no time.
EMPHASIS = re.compile(
    r"(?<![\w*])(?P<star>\*{1,3})(?=[^\s*])(?P<starred>[^*\n]{1,120}?)(?<=[^\s*])(?P=star)(?![\w*])"
    r"|(?<![\w_])(?P<line>_{1,3})(?=[^\s_])(?P<lined>[^\n]{1,120}?)(?<=[^\s_])(?P=line)(?![\w_])"
    r"|(?<!`)`(?P<code>[^`\n]{1,120})`(?!`)"
)
# What a formula outside of dollars is made of: no word of two letters, but for these.
NAMES = (
    "sin|cos|tan|cot|sec|csc|arcsin|arccos|arctan|sinh|cosh|tanh|log|ln|exp|sqrt|cbrt|abs|min|max|pi|inf|"
    "infinity|theta|alpha|beta|gamma|delta|lambda|and|or|percent|pct|percentage|mod"
)
ATOM = (
    rf"(?:\\[A-Za-z]+|\b(?:{NAMES})\b|(?<![^\W\d_])[^\W\d_](?![^\W\d_])|\d+(?:st|nd|rd|th)?(?![^\W\d_]{{3}})"
    r"|[^\S\n]|[-+*/^=<>≤≥≠≈±∓×÷·−–π√∞∪∩∈²³¹⁰⁴⁵⁶⁷⁸⁹½⅓⅔¼¾°%$€£¥₹(){}\[\]|.,:;!&_'\\])"
)
RUN = re.compile(rf"{ATOM}+", re.IGNORECASE)
CURRENCY = "$€£¥₹"


class Candidate(NamedTuple):
    """A piece of the text that may be its final answer. ``set_apart`` if a mark says so."""

    text: str
    position: int
    set_apart: bool


def candidates(text: str) -> Iterator[str]:
    """Yield possible final answers, the most likely first.

    The last of: an ``<answer>`` tag, then ``\\boxed``, "the answer is …" and ``####``, whichever comes last;
    then formulas, emphasised words and numbers, whichever comes last.
    """
    text = text[-MAX_READ:]
    tagged = list(TAGGED.finditer(text))
    if tagged:
        yield from _of_piece(tagged[-1][2])
    marked = sorted([*_boxes(text), *_marked(text)], key=lambda each: -each.position)
    for each in marked:
        yield from [each.text] if each.set_apart else _of_sentence(each.text)
    yield from (each.text for each in _loose(text))


def plain(text: str) -> str:
    """Return the text without Markdown emphasis and without punctuation around it."""
    text = text.strip()
    for _ in range(MOST_MARKS):
        previous = text
        text = EMPHASIS.sub(lambda m: m["starred"] or m["lined"] or m["code"], text).strip()
        text = re.sub(r"^[\s*_`#>\"'“”:：=✅]+(?=\S)|(?<=\S)[\s*`\"“”✅]+$", "", text)
        text = re.sub(r"(?<![.…])[.,;!?。]$", "", text).strip()
        if text == previous:
            break
    return text


def is_formula(text: str) -> bool:
    """True if the whole text is one line without words, and without marks that set a formula apart."""
    if len(text) > 200 or BOX.search(text) or TAGGED.search(text):
        return False
    return "\n" not in text and (len(text) <= 40 or RUN.fullmatch(text) is not None)


def _of_piece(piece: str) -> Iterator[str]:
    """The content of a tag: as a whole, else what stands out in it."""
    boxes = _boxes(piece)
    if boxes:
        yield boxes[-1].text
    yield piece
    yield from _of_sentence(piece)
    yield from (each.text for each in _loose(piece))


def _boxes(text: str) -> list[Candidate]:
    """The contents of ``\\boxed{…}``; boxes that are parts of one list are joined."""
    found: list[tuple[str, int, int]] = []
    for match in list(BOX.finditer(text))[-LAST_MARKS:]:
        end = _closing(text, match.end()) if text[match.end()] == "{" else match.end() + 1
        inside = text[match.end() + 1 : end - 1] if text[match.end()] == "{" else text[match.end()]
        if text[match.end()] not in "{" and text[match.end()].isdigit():
            number = re.compile(r"[\d.,]+").match(text, match.end())
            inside, end = (number[0], number.end()) if number else (inside, end)
        previous = found[-1] if found else None
        between = text[previous[2] : match.start()] if previous else ""
        if previous and match.start() < previous[2]:
            continue
        if previous and re.fullmatch(BETWEEN_BOXES, between) and previous[0].strip() != inside.strip():
            found[-1] = (f"{previous[0]}, {inside}", previous[1], end)
        else:
            found.append((inside, match.start(), end))
    return [Candidate(inside, start, True) for inside, start, _ in found if inside.strip()]


def _closing(text: str, at: int) -> int:
    """The position after the brace that closes the one at ``at``, or the end of the text."""
    depth = 0
    for position in range(at, len(text)):
        if text[position] in "{}" and text[position - 1] != "\\":
            depth += 1 if text[position] == "{" else -1
            if depth == 0:
                return position + 1
    return len(text) + 1


def _marked(text: str) -> list[Candidate]:
    """Return the text behind "the answer is" and similar phrases, to the end of its paragraph."""
    found = []
    for match in list(MARKER.finditer(text))[-LAST_MARKS:]:
        rest = text[match.end() :].lstrip()
        paragraph = re.split(r"\n\s*\n|\n(?=\s*(?:#|-{3}|\*{3}))", rest, maxsplit=1)[0]
        if not rest.startswith(("$$", "\\[")):
            paragraph = paragraph.split("\n")[0]
        found.append(Candidate(paragraph, match.start(), False))
    return found


def _of_sentence(text: str) -> Iterator[str]:
    """Return the statement of "the answer is …": its first formula, else the last emphasised text."""
    text = re.sub(r"^[\s*_]*[:：]?[\s*_]*(?=\S)", "", text) if text[:1] in "*_:： " else text
    formula = FORMULA.match(text)
    if formula and not re.match(r"\s*(?:is|are|=|equals)\b", text[formula.end() :]):
        yield _joined(text, formula)
        return
    cleaned = plain(text)
    run = RUN.match(cleaned)
    lead = _tidy(run[0][:MAX_RUN], 0) if run else ""
    if (lead and any(each.isdigit() for each in lead)) or (lead and len(lead) == len(cleaned)):
        yield lead
    yield from (each.text for each in _loose(text))


def _joined(text: str, formula: re.Match[str]) -> str:
    """A formula with those that follow it in a list: ``$1$, $2$ and $3$``; and a percent sign behind it."""
    parts, end = [_inside(formula)], formula.end()
    while following := re.compile(r"\s*(?:,|and|or|;|,\s*and)\s*").match(text, end):
        then = FORMULA.match(text, following.end())
        if not then:
            break
        parts.append(_inside(then))
        end = then.end()
    percent = re.match(r"\s*(?:\\?%|percent\b|pct\b)", text[end:])
    return ", ".join(parts) + ("%" if percent else "")


def _inside(match: re.Match[str]) -> str:
    return next(filter(None, match.groups()), "")


def _loose(text: str) -> list[Candidate]:
    """Yield formulas, emphasised words and runs of plain mathematics, the last one first."""
    found = [Candidate(_joined(text, match), match.start(), True) for match in FORMULA.finditer(text)]
    rest = FORMULA.sub(lambda match: "\n" * len(match[0]), text)
    for match in EMPHASIS.finditer(rest):
        inside = match["starred"] or match["lined"] or match["code"]
        if any(each.isdigit() for each in inside):
            found.append(Candidate(inside, match.start(), True))
    for match in RUN.finditer(without_marks(rest)):
        run = _tidy(match[0][-MAX_RUN:], -1)
        if any(each.isdigit() for each in run):
            found.append(Candidate(run, match.start() + 1, False))
    return sorted(found, key=lambda each: (_names_only(each.text), -each.position))


def _names_only(text: str) -> bool:
    """True for ``x`` and ``ABC``, which a text mentions rather than states as its answer."""
    return re.fullmatch(r"[\s$]*\\?[^\W\d_]+[\s$]*", text) is not None


def without_marks(text: str) -> str:
    """Return the text with spaces for emphasis marks, so that positions stay the same."""
    return re.sub(
        r"\*{2,}|_{2,}|`|(?<![\w)\s])\*(?=\S)|(?<=\S)\*(?![\w(\s])", lambda m: " " * len(m[0]), text
    )


def _tidy(run: str, which: int) -> str:
    """A run of mathematics without the words and the punctuation that belong to the sentence around it.

    ``which`` of its sentences is taken, of those that hold a digit.
    """
    sentences = re.split(r"(?<=[^.\s])[.;!?]\s+", run)
    run = ([each for each in sentences if any(c.isdigit() for c in each)] or sentences)[which]
    previous = None
    while previous != run:
        previous = run
        run = run.strip().strip("*_`'").strip()
        run = re.sub(r"^(?:and|or|[aAI]|[,.;:!&=*/)\]}])(?=[\s\d]|$)(?!\.\d)\s*", "", run)
        run = re.sub(r"\s*(?:\b(?:and|or|[aAI])|[,;:!&({\[]|(?<![.…])\.)$", "", run)
    return run
