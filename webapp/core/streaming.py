"""Downloads that never stand whole in memory."""

from __future__ import annotations

import csv
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from asgiref.sync import sync_to_async
from django.utils.http import content_disposition_header

T = TypeVar("T", str, bytes)


async def stream_lazily(parts: Iterator[T]) -> AsyncIterator[T]:
    """The same parts, each fetched when the reader asks; given an iterator, Django would list it first."""

    def step() -> T | None:
        return next(parts, None)

    while (part := await sync_to_async(step)()) is not None:
        yield part


FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


def defuse_formula(value: object) -> object:
    """The value as a spreadsheet shows it without running it as a formula; numbers stay numbers."""
    risky = isinstance(value, str) and value.lstrip(" ").startswith(FORMULA_STARTS)
    return f"'{value}" if risky else value


class _Line:
    """A file that hands back what is written."""

    def write(self, text: str) -> str:
        return text


def format_csv(rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """Rows as lines of CSV, harmless to spreadsheets."""
    writer: Any = csv.writer(_Line())
    for row in rows:
        yield writer.writerow([defuse_formula(cell) for cell in row])


def build_attachment_headers(name: str, size: int) -> dict[str, str]:
    """Headers of a file to save under this name."""
    disposition = content_disposition_header(True, name)
    return {"Content-Length": str(size), "Content-Disposition": disposition or "attachment"}
