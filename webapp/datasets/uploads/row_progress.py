"""The number of rows that a running check or commit has come to, for the page that waits for its end.

It lies in the shared cache, not in the database: a transaction may be open until the end.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from django.core.cache import cache

from webapp.datasets.models import DatasetImport, Transfer, Upload

EVERY_SECONDS = 1.0
KEPT_SECONDS = 600  # copying a large file into storage follows the last row
Tracked = DatasetImport | Transfer | Upload
T = TypeVar("T")


class RowProgress:
    """Counts rows as they pass, and stores the number at most once a second."""

    def __init__(self, waiting: Tracked) -> None:
        self._key = _cache_key(waiting)
        self._stored_at = time.monotonic()

    def checked(self, rows: Iterable[T]) -> Iterator[T]:
        """The same rows, counted as checked."""
        return self._count(rows, "checked")

    def written(self, rows: Iterable[T]) -> Iterator[T]:
        """The same rows, counted as written."""
        return self._count(rows, "written")

    def _count(self, rows: Iterable[T], verb: str) -> Iterator[T]:
        for number, row in enumerate(rows, start=1):
            if time.monotonic() - self._stored_at >= EVERY_SECONDS:
                self._stored_at = time.monotonic()
                cache.set(self._key, f"{number:,} rows {verb}", KEPT_SECONDS)
            yield row


@contextmanager
def track_rows(waiting: Tracked) -> Iterator[RowProgress]:
    """Progress that is forgotten when the work has ended."""
    try:
        yield RowProgress(waiting)
    finally:
        cache.delete(_cache_key(waiting))


def read_progress(waiting: Tracked) -> str:
    """The progress in words, such as "12,000 rows checked"; empty where nothing runs."""
    return str(cache.get(_cache_key(waiting), ""))


def _cache_key(waiting: Tracked) -> str:
    return f"rows:{waiting.uid}"
