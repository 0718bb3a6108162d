"""Downloads that are never in memory as a whole."""

from __future__ import annotations

import csv
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from numbers import Number
from typing import Any, TypeVar

from asgiref.sync import sync_to_async
from django.utils.http import content_disposition_header

T = TypeVar("T", str, bytes)


async def stream_lazily(parts: Iterator[T]) -> AsyncIterator[T]:
    """Yield the parts asynchronously.

    Under ASGI Django would read a plain iterator into memory first.
    """

    def step() -> T | None:
        return next(parts, None)

    while (part := await sync_to_async(step)()) is not None:
        yield part


FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


def defuse_formula(value: object) -> object:
    """Quote text that a spreadsheet would run as a formula, also of an object. Numbers stay numbers."""
    if value is None or isinstance(value, Number):
        return value
    text = str(value)
    return f"'{text}" if text.lstrip(" ").startswith(FORMULA_STARTS) else text


class _Line:
    """A file whose ``write`` returns the text."""

    def write(self, text: str) -> str:
        return text


def format_csv(rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """Yield rows as lines of CSV that are safe for spreadsheets."""
    writer: Any = csv.writer(_Line())
    for row in rows:
        yield writer.writerow([defuse_formula(cell) for cell in row])


def build_attachment_headers(name: str, size: int) -> dict[str, str]:
    """Build the headers of a download with this file name."""
    disposition = content_disposition_header(True, name)
    return {"Content-Length": str(size), "Content-Disposition": disposition or "attachment"}
