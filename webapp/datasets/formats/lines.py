"""Lines of a byte stream, never more than one of them in memory."""

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
    """Each line's number and text with its line end, or why it is unusable.

    Lines end with LF or CRLF, or all with CR, as old spreadsheets write them.
    """
    for number, raw in enumerate(
        _split_at_carriage_returns(file) if _has_only_cr(file) else _split_at_newlines(file), start=1
    ):
        yield number, _decode(raw.removeprefix(BYTE_ORDER_MARK) if number == 1 else raw)


def _has_only_cr(file: IO[bytes]) -> bool:
    start = file.tell()
    head = file.read(HEAD_BYTES)
    file.seek(start)
    return b"\n" not in head and b"\r" in head


def _split_at_newlines(file: IO[bytes]) -> Iterator[bytes]:
    """Lines; of one that is too long the beginning, one byte longer than allowed."""
    while raw := file.readline(MAX_LINE_BYTES + 1):
        rest = raw
        while len(raw) > MAX_LINE_BYTES and rest and not rest.endswith(b"\n"):
            rest = file.readline(MAX_LINE_BYTES)
        yield raw


def _split_at_carriage_returns(file: IO[bytes]) -> Iterator[bytes]:
    """The same where CR ends a line; it is handed on as LF."""
    kept = b""
    while chunk := file.read(CHUNK_BYTES):
        *whole, kept = (kept + chunk).split(b"\r")
        kept = kept[: MAX_LINE_BYTES + 1]
        yield from (line[:MAX_LINE_BYTES] + b"\n" for line in whole)
    if kept:
        yield kept


def _decode(raw: bytes) -> str | RowError:
    if len(raw) > MAX_LINE_BYTES:
        return problems.line_too_long().quoting(raw[:QUOTED_BYTES].decode(errors="replace"))
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        guess = raw[error.start : error.start + 1].decode("cp1252", errors="ignore")
        return problems.not_utf8(error.start, guess).quoting(_escape_around(raw, error.start))


def _escape_around(raw: bytes, at: int) -> str:
    """The bytes around one that is not UTF-8."""
    return raw[max(0, at - 60) : at + 60].decode(errors="backslashreplace")
