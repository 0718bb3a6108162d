"""Uses of models, added up in this process and written together."""

from __future__ import annotations

import asyncio
import logging
import threading

from django.conf import settings

from webapp.serving.gateway import threads
from webapp.serving.usage import UsageKey, Use, record_uses

log = logging.getLogger(__name__)
WRITE_SECONDS = 0.5
_uses: dict[UsageKey, Use] = {}
_tasks: set[asyncio.Task[None]] = set()
_lock = threading.Lock()  # a worker has an event loop in each of several threads


async def count_use(key: UsageKey, use: Use) -> None:
    """Count a use. It is written within a second, unless the process ends before."""
    with _lock:
        _uses[key] = _uses[key] + use if key in _uses else use
    if not settings.SERVE_THREADS:
        await write_uses()
    elif not _tasks:
        task = asyncio.create_task(_write_soon())
        _tasks.add(task)
        task.add_done_callback(_tasks.discard)  # also if its loop ends before it has begun


async def _write_soon() -> None:
    """Write until nothing is left. Ends without a pause after its last look, so that no use is missed."""
    while _uses:
        await asyncio.sleep(WRITE_SECONDS)
        await write_uses()
    if task := asyncio.current_task():
        _tasks.discard(task)


async def write_uses() -> None:
    """Write what is counted. Call it where an event loop ends with its work."""
    with _lock:
        uses = dict(_uses)
        _uses.clear()
    try:
        await threads.run(record_uses, uses)
    except Exception:
        log.exception("The use of %s models was not counted", len(uses))
