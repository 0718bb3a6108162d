"""Lines of a byte stream, never more than one of them in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

from webapp.datasets import problems
from webapp.datasets.limits import MAX_LINE_BYTES
from webapp.datasets.problems import RowError

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def lines(file: IO[bytes]) -> Iterator[tuple[int, str | RowError]]:
    """Each line's number and text with its line end, or why it is unusable."""
    number = 0
    while raw := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if number == 1:
            raw = raw.removeprefix(BYTE_ORDER_MARK)
        yield number, _text(file, raw)


def _text(file: IO[bytes], raw: bytes) -> str | RowError:
    if len(raw) > MAX_LINE_BYTES:
        _skip_rest(file, raw)
        return problems.line_too_long()
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        return problems.not_utf8(error.start)


def _skip_rest(file: IO[bytes], raw: bytes) -> None:
    while raw and not raw.endswith(b"\n"):
        raw = file.readline(MAX_LINE_BYTES)
