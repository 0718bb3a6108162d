"""Progress of a running check or commit, in rows, for the page that waits for it.

It is in the shared cache, not in the database, because one transaction may be open until the end.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from django.core.cache import cache

from webapp.datasets.models import DatasetImport, Transfer, Upload

EVERY_SECONDS = 1.0
KEPT_SECONDS = 600  # after the last row a large file is still copied into storage
Tracked = DatasetImport | Transfer | Upload
T = TypeVar("T")


class RowProgress:
    """Counts rows as they pass, and stores the number at most once a second."""

    def __init__(self, tracked: Tracked) -> None:
        self._key = _cache_key(tracked)
        self._stored_at = time.monotonic()

    def count_checked(self, rows: Iterable[T]) -> Iterator[T]:
        """Yield the same rows, counted as checked."""
        return self._count(rows, "checked")

    def count_written(self, rows: Iterable[T]) -> Iterator[T]:
        """Yield the same rows, counted as written."""
        return self._count(rows, "written")

    def _count(self, rows: Iterable[T], verb: str) -> Iterator[T]:
        for number, row in enumerate(rows, start=1):
            if time.monotonic() - self._stored_at >= EVERY_SECONDS:
                self._stored_at = time.monotonic()
                cache.set(self._key, f"{number:,} rows {verb}", KEPT_SECONDS)
            yield row


@contextmanager
def track_rows(tracked: Tracked) -> Iterator[RowProgress]:
    """Open a progress counter; its number is deleted when the work ends."""
    try:
        yield RowProgress(tracked)
    finally:
        cache.delete(_cache_key(tracked))


def read_progress(tracked: Tracked) -> str:
    """Return the progress, such as "12,000 rows checked"; empty if nothing runs."""
    return str(cache.get(_cache_key(tracked), ""))


def _cache_key(tracked: Tracked) -> str:
    return f"rows:{tracked.uid}"
