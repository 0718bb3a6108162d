"""The cache that all processes share, for rate limits and progress of waiting pages."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import parse_qs, urlsplit

import redis
from django.core.cache.backends.redis import RedisCache

log = logging.getLogger(__name__)
TABLE = "shared_cache"


def configure(broker: str) -> dict[str, str]:
    """Return Django's cache setting: the broker if it is Valkey or Redis, else a database table."""
    parts = urlsplit(broker)
    if parts.scheme in {"redis", "rediss"}:
        location = broker
    elif parts.scheme == "redis+socket":
        number = parse_qs(parts.query).get("virtual_host", ["0"])[0]
        location = f"unix://{parts.path}?db={number}"
    else:
        return {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": TABLE}
    return {"BACKEND": "webapp.config.cache.SharedCache", "LOCATION": location, "KEY_PREFIX": "groove"}


def _return_if_unreachable(fallback: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def decorate(method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                return method(*args, **kwargs)
            except redis.RedisError as error:
                log.warning("The cache cannot be reached, so rate limits do not count: %s", error)
                return fallback

        return call

    return decorate


class SharedCache(RedisCache):
    """Valkey or Redis. While it is down users can sign in, but rate limits do not count."""

    set = _return_if_unreachable(None)(RedisCache.set)
    add = _return_if_unreachable(True)(RedisCache.add)
    incr = _return_if_unreachable(0)(RedisCache.incr)
    delete = _return_if_unreachable(False)(RedisCache.delete)

    def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        """Return the value, or ``default`` without a value or a broker."""
        return _return_if_unreachable(default)(super().get)(key, default, version)

    def clear(self) -> None:
        """Raise NotImplementedError: the same database has the broker's messages."""
        raise NotImplementedError
