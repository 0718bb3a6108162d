"""Wake-up messages for workers.

A lost message only delays work: Celery beat sends them again.
"""

from __future__ import annotations

import logging
from functools import partial

from django.db import transaction
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from workers.celery import app

log = logging.getLogger(__name__)


def notify_workers(task: str, *arguments: int) -> None:
    """Send the Celery task ``workers.tasks.<task>`` when the transaction commits."""
    transaction.on_commit(partial(_send, task, arguments))


def _send(task: str, arguments: tuple[int, ...]) -> None:
    try:
        app.send_task(f"workers.tasks.{task}", args=arguments, retry=False)
    except (KombuError, RedisError, OSError) as error:
        log.warning("The broker did not accept %s%s: %s. Celery beat sends it again.", task, arguments, error)
