"""Results that stay valid for about a second, so that most requests need no database."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from django.conf import settings

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
MOST_KEYS = 10_000
Read = Callable[[], Coroutine[Any, Any, V]]


@dataclass(frozen=True)
class _Entry(Generic[V]):
    began: float  # when the value's reading began
    value: V


class Recent(Generic[K, V]):
    """Values that are read again after ``seconds``, counted from when their reading began.

    Requests that wait for one key share its reading. A value in use is read again at half of its time, while
    requests still get it, so that they rarely wait. Keeps nothing where each request has its own thread.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._entries: dict[K, _Entry[V]] = {}
        self._readings: dict[K, asyncio.Task[V]] = {}

    async def find(self, key: K, read: Read[V]) -> V:
        """Return the value. Raises what ``read`` raises, which is not kept."""
        if not settings.SERVE_THREADS:
            return await read()
        entry = self._entries.get(key)
        age = time.monotonic() - entry.began if entry else self._seconds
        if entry and age < self._seconds:
            if age > self._seconds / 2:
                self._begin(key, read)
            return entry.value
        return await asyncio.shield(self._begin(key, read))

    def forget(self, key: K) -> None:
        """Drop the value, also one that is being read."""
        self._entries.pop(key, None)
        self._readings.pop(key, None)

    def _begin(self, key: K, read: Read[V]) -> asyncio.Task[V]:
        """Return the reading of the key, which this call begins unless it runs in this event loop."""
        reading = self._readings.get(key)
        if reading is None or reading.get_loop() is not asyncio.get_running_loop():
            began = time.monotonic()
            reading = self._readings[key] = asyncio.create_task(read())
            reading.add_done_callback(lambda done: self._end(key, began, done))
        return reading

    def _end(self, key: K, began: float, reading: asyncio.Task[V]) -> None:
        failed = reading.cancelled() or reading.exception() is not None
        if self._readings.get(key) is not reading:
            return  # it was forgotten
        del self._readings[key]
        if failed:
            self._entries.pop(key, None)
            return
        if len(self._entries) >= MOST_KEYS:
            self._entries.clear()
        self._entries[key] = _Entry(began, reading.result())
