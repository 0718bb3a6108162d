"""Finds fenced code blocks in Markdown. The standard library alone: it also runs inside the sandbox."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import NamedTuple

# A fence may be indented, quoted or stand in a list; it closes with as many marks, or the text ends.
_OPENING = re.compile(r"[ \t>]*(?:[-*+]\s+|\d+[.)]\s+)?(?P<fence>`{3,}|~{3,})[ \t]*(?P<info>[^`\n]*)$")
_ONE_LINE = re.compile(
    r"(?P<fence>`{3,}|~{3,})[ \t]*(?:(?P<tag>[A-Za-z][\w+.-]*)[ \t]+)?(?P<body>.*?)\s*(?P=fence)"
)
# Not splitlines, which also splits at characters that JSON and code may contain, such as U+2028.
_LINE_END = re.compile(r"\r\n|\r|\n")
_INLINE = re.compile(r"\s*`([^`\n]+)`\s*")


class Block(NamedTuple):
    """``tag`` is the language in lower case, or empty."""

    tag: str
    body: str


def fenced_blocks(text: str) -> list[Block]:
    """Return every block, in order. A block that is never closed ends with the text."""
    return [block for block in _split(text) if isinstance(block, Block)]


def outside_blocks(text: str) -> str:
    """Return the text without its blocks."""
    return "\n".join(part for part in _split(text) if not isinstance(part, Block)).strip()


def last_block(text: str, tags: Collection[str]) -> str | None:
    """Return the body of the last block that is not empty and has one of ``tags``."""
    bodies = [block.body for block in fenced_blocks(text) if block.tag in tags and block.body.strip()]
    return bodies[-1] if bodies else None


def without_backticks(text: str) -> str:
    """Return the text without a pair of backticks around the whole of it."""
    inline = _INLINE.fullmatch(text)
    return inline[1] if inline else text


def _split(text: str) -> Iterator[Block | str]:
    """Yield the blocks, and the lines between them."""
    lines = iter(_LINE_END.split(text.removesuffix("\n").removesuffix("\r")))
    for line in lines:
        opening = _OPENING.match(line)
        if opening is None:
            yield from _split_line(line)
            continue
        body = list(_read_until_closed(lines, opening["fence"]))
        yield Block(_tag(opening["info"]), "\n".join(body))


def _split_line(line: str) -> Iterator[Block | str]:
    """Yield the parts of a line with blocks that open and close in it."""
    at = 0
    for match in _ONE_LINE.finditer(line):
        yield line[at : match.start()]
        yield Block((match["tag"] or "").lower(), match["body"])
        at = match.end()
    yield line[at:]


def _read_until_closed(lines: Iterator[str], fence: str) -> Iterator[str]:
    closing = re.compile(rf"(?P<last>.*?)[ \t>]*{re.escape(fence)}{re.escape(fence[0])}*[ \t.]*$")
    for line in lines:
        closed = closing.match(line)
        if closed:
            yield from filter(str.strip, [closed["last"]])
            return
        yield line


def _tag(info: str) -> str:
    words = re.findall(r"[\w+#.-]+", info)
    return words[0].lower() if words else ""
