"""The most requests of one caller that a web process answers at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings

from webapp.core.api.errors import ApiError

RETRY_SECONDS = 1
_open: Counter[str] = Counter()


@contextmanager
def hold_place(caller: str) -> Iterator[None]:
    """Count an open request of the caller. Raises ApiError (429) if too many are open."""
    most = settings.SERVE_OPEN_REQUESTS
    if _open[caller] >= most:
        raise ApiError(
            f"You have {most} open requests, the most at once. Wait until some have ended.",
            status=429,
            code="rate_limit_exceeded",
            retry_after=RETRY_SECONDS,
        )
    _open[caller] += 1
    try:
        yield
    finally:
        _open[caller] -= 1
        if not _open[caller]:
            del _open[caller]
