"""Threads in which the gateway reads and writes the database.

There are few, so that hundreds of open streams need few connections, and they keep their connections.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import connection

P = ParamSpec("P")
T = TypeVar("T")
KEPT_SECONDS = 60
_threads = ThreadPoolExecutor(max(settings.SERVE_THREADS, 1), thread_name_prefix="gateway")


async def run(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call the function in one of the threads, or in the request's own if the setting allows none."""
    call = partial(function, *args, **kwargs)
    if not settings.SERVE_THREADS:
        return await sync_to_async(call)()
    return await asyncio.get_running_loop().run_in_executor(_threads, _call, call)


def _call(function: Callable[[], T]) -> T:
    connection.close_if_unusable_or_obsolete()
    if connection.connection is None:
        connection.connect()
        connection.close_at = time.monotonic() + KEPT_SECONDS  # Django would open one for each request
    return function()
