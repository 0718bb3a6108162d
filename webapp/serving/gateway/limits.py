"""The most requests of one key that a web process answers at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings

from webapp.core.api.errors import ApiError
from webapp.keys.models import ApiKey

RETRY_SECONDS = 1
_open: Counter[int] = Counter()


@contextmanager
def hold_place(key: ApiKey) -> Iterator[None]:
    """Count an open request of the key. Raises ApiError (429) if too many are open."""
    most = settings.SERVE_OPEN_REQUESTS
    if _open[key.pk] >= most:
        raise ApiError(
            f"This key has {most} open requests, the most at once. Wait until some have ended.",
            status=429,
            code="rate_limit_exceeded",
            retry_after=RETRY_SECONDS,
        )
    _open[key.pk] += 1
    try:
        yield
    finally:
        _open[key.pk] -= 1
        if not _open[key.pk]:
            del _open[key.pk]
