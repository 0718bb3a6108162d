"""Read the lines of a byte stream with only one of them in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

from webapp.datasets.content import problems
from webapp.datasets.content.limits import MAX_LINE_BYTES
from webapp.datasets.content.problems import RowError

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
HEAD_BYTES = 2**16
CHUNK_BYTES = 2**18
QUOTED_BYTES = 1000


def read_lines(file: IO[bytes]) -> Iterator[tuple[int, str | RowError]]:
    """Yield each line's number and its text with the line end, or its error.

    Lines end with LF or CRLF, or all of them with CR (old spreadsheets).
    """
    raw_lines = _split_at_carriage_returns(file) if _has_only_cr(file) else _split_at_newlines(file)
    for number, raw in enumerate(raw_lines, start=1):
        yield number, _decode(raw.removeprefix(BYTE_ORDER_MARK) if number == 1 else raw)


def _has_only_cr(file: IO[bytes]) -> bool:
    start = file.tell()
    head = file.read(HEAD_BYTES)
    file.seek(start)
    return b"\n" not in head and b"\r" in head  # LF also ends CRLF lines


def _split_at_newlines(file: IO[bytes]) -> Iterator[bytes]:
    """Yield lines.

    One that is too long is cut one byte above the limit, so that it is refused later.
    """
    while raw := file.readline(MAX_LINE_BYTES + 1):
        rest = raw
        while len(raw) > MAX_LINE_BYTES and rest and not rest.endswith(b"\n"):
            rest = file.readline(MAX_LINE_BYTES)
        yield raw


def _split_at_carriage_returns(file: IO[bytes]) -> Iterator[bytes]:
    """Yield lines that end with CR, with LF in its place."""
    rest = b""
    while chunk := file.read(CHUNK_BYTES):
        *whole, rest = (rest + chunk).split(b"\r")
        rest = rest[: MAX_LINE_BYTES + 1]
        yield from (line[:MAX_LINE_BYTES] + b"\n" for line in whole)
    if rest:
        yield rest


def _decode(raw: bytes) -> str | RowError:
    if len(raw) > MAX_LINE_BYTES:
        return problems.line_too_long().quote(raw[:QUOTED_BYTES].decode(errors="replace"))
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        guess = raw[error.start : error.start + 1].decode("cp1252", errors="ignore")
        nearby = raw[max(0, error.start - 60) : error.start + 60].decode(errors="backslashreplace")
        return problems.not_utf8(error.start, guess).quote(nearby)
