"""Limits of callers: requests a minute of a key, and requests that a web process answers at once."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings

from webapp.core.api.errors import ApiError
from webapp.keys.limits import WINDOW, reserve_requests
from webapp.keys.models import ApiKey
from webapp.serving.gateway import threads

RETRY_SECONDS = 1
BLOCK_SHARE = 50  # of a key's limit a minute: requests that are counted together
_open: Counter[str] = Counter()
_reserved: dict[int, tuple[int, int]] = {}  # by key: a minute, and requests that are counted but not yet sent
_reserving: dict[int, asyncio.Task[None]] = {}


async def count_request(key: ApiKey) -> None:
    """Count a request of the key. Raises ApiError (429) above the limit of the current minute.

    A block of requests is counted at once in what all processes share, so that most need no other thread.
    Requests that wait for a block share it: each with one of its own would use up the limit.
    """
    minute = int(time.time()) // WINDOW
    while not _find_reserved(key, minute):
        await asyncio.shield(_reserve_block(key, minute))
    _reserved[key.pk] = (minute, _find_reserved(key, minute) - 1)


def _reserve_block(key: ApiKey, minute: int) -> asyncio.Task[None]:
    """Return the reservation that is under way for the key in this event loop; begin one if there is none."""
    task = _reserving.get(key.pk)
    if task is None or task.done() or task.get_loop() is not asyncio.get_running_loop():
        task = _reserving[key.pk] = asyncio.create_task(_reserve(key, minute))
    return task


async def _reserve(key: ApiKey, minute: int) -> None:
    block = max(1, settings.API_REQUESTS_PER_MINUTE // BLOCK_SHARE)
    granted = await threads.run(reserve_requests, key, block)
    _reserved[key.pk] = (minute, _find_reserved(key, minute) + granted)


def _find_reserved(key: ApiKey, minute: int) -> int:
    reserved_in, number = _reserved.get(key.pk, (minute, 0))
    return number if reserved_in == minute else 0


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
