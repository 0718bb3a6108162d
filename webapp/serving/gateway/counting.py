"""Uses of models, added up in this process and written together."""

from __future__ import annotations

import asyncio
import logging

from django.conf import settings

from webapp.serving.gateway import threads
from webapp.serving.usage import UsageKey, Use, record_uses

log = logging.getLogger(__name__)
WRITE_SECONDS = 0.5
_uses: dict[UsageKey, Use] = {}
_tasks: set[asyncio.Task[None]] = set()


async def count_use(key: UsageKey, use: Use) -> None:
    """Count a use. It is written within a second, unless the process ends before."""
    _uses[key] = _uses[key] + use if key in _uses else use
    if not settings.SERVE_THREADS:
        await _write()
    elif not _tasks:
        task = asyncio.create_task(_write_soon())
        _tasks.add(task)
        task.add_done_callback(_tasks.discard)


async def _write_soon() -> None:
    while _uses:
        await asyncio.sleep(WRITE_SECONDS)
        await _write()


async def _write() -> None:
    uses = dict(_uses)
    _uses.clear()
    try:
        await threads.run(record_uses, uses)
    except Exception:
        log.exception("The use of %s models was not counted", len(uses))
