"""Downloads that never stand whole in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TypeVar

from asgiref.sync import sync_to_async

T = TypeVar("T", str, bytes)


async def streamed(parts: Iterator[T]) -> AsyncIterator[T]:
    """The same parts, each fetched when the reader asks; given an iterator, Django would list it first."""

    def step() -> T | None:
        return next(parts, None)

    while (part := await sync_to_async(step)()) is not None:
        yield part
