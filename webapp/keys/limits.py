"""The limit of requests a minute for each key, counted in the cache that all processes share."""

from __future__ import annotations

import time

from django.conf import settings
from django.core.cache import cache

from webapp.core.api.errors import ApiError
from webapp.keys.models import ApiKey

WINDOW = 60  # seconds


def count_request(key: ApiKey) -> None:
    """Count a request of the key. Raises ApiError (429) above the limit of the current minute."""
    reserve_requests(key, 1)


def reserve_requests(key: ApiKey, most: int) -> int:
    """Count up to ``most`` requests of the key in advance; return how many it may send this minute.

    Raises ApiError (429) if the limit of the current minute leaves none.
    """
    now = int(time.time())
    name, limit = f"api-requests:{key.pk}:{now // WINDOW}", settings.API_REQUESTS_PER_MINUTE
    before = 0 if cache.add(name, most, timeout=2 * WINDOW) else _increment(name, most) - most
    if before < limit:
        return min(most, limit - before)
    wait = WINDOW - now % WINDOW
    raise ApiError(
        f"This key may send {limit} requests a minute. Try again in {wait} s.",
        status=429,
        code="rate_limit_exceeded",
        retry_after=wait,
    )


def _increment(name: str, number: int) -> int:
    try:
        return cache.incr(name, number)
    except ValueError:  # the cache has dropped the count
        return number
