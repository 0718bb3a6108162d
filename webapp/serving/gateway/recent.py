"""Results that stay valid for about a second, so that most requests need no database."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from django.conf import settings

from webapp.serving.gateway import threads

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
MOST_KEYS = 10_000


class Recent(Generic[K, V]):
    """A dict whose entries vanish after ``seconds``. Empty where each request has its own thread."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._entries: dict[K, tuple[float, V]] = {}

    def get(self, key: K) -> V | None:
        """Return the value unless it is too old."""
        found = self._entries.get(key)
        return found[1] if found and found[0] > time.monotonic() else None

    def set(self, key: K, value: V) -> None:
        """Remember the value from now on."""
        if not settings.SERVE_THREADS:
            return
        if len(self._entries) >= MOST_KEYS:
            self._entries.clear()
        self._entries[key] = (time.monotonic() + self._seconds, value)

    def forget(self, key: K) -> None:
        """Drop the value."""
        self._entries.pop(key, None)

    async def find(self, key: K, function: Callable[[], V]) -> V:
        """Return the value; if it is too old, call the function in one of the gateway's threads."""
        value = self.get(key)
        if value is None:
            value = await threads.run(function)
            self.set(key, value)
        return value
