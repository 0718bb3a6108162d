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
    now = int(time.time())
    name = f"api-requests:{key.pk}:{now // WINDOW}"
    if cache.add(name, 1, timeout=2 * WINDOW) or _increment(name) <= settings.API_REQUESTS_PER_MINUTE:
        return
    wait = WINDOW - now % WINDOW
    raise ApiError(
        f"This key may send {settings.API_REQUESTS_PER_MINUTE} requests a minute. Try again in {wait} s.",
        status=429,
        code="rate_limit_exceeded",
        retry_after=wait,
    )


def _increment(name: str) -> int:
    try:
        return cache.incr(name)
    except ValueError:  # the cache has dropped the count
        return 1
