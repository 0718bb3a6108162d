"""Live updates of a job as server-sent events: replayed from a cursor, then fed by LISTEN."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import psycopg
from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import close_old_connections, connection
from django.http import HttpRequest, StreamingHttpResponse

from webapp.core.input_checks import GREATEST, parse_whole_number
from webapp.jobs.models import Job, JobEvent, Metric
from webapp.jobs.states import TERMINAL
from webapp.jobs.transitions import CHANNEL
from webapp.teams.access import find_access, require_user

log = logging.getLogger(__name__)
T = TypeVar("T")
HEARTBEAT_SECONDS = 15
RECONNECT_SECONDS = 1
RETRY_MILLISECONDS = 2000
BATCH = 500
READERS = 8  # so many connections to the database at most, however many pages are open
Found = tuple[list[tuple[int, str, dict[str, Any]]], bool]
_door = asyncio.Semaphore(READERS)  # after a restart all open pages come back at once
_pool = ThreadPoolExecutor(READERS, thread_name_prefix="stream")


async def in_pool(call: Callable[..., T], *arguments: Any) -> T:
    """The call's result, from one of the few threads that may read the database for streams."""
    return await asyncio.get_running_loop().run_in_executor(_pool, call, *arguments)


class Hub:
    """One LISTEN connection for all streams of this process, and one reading for those that wait alike."""

    def __init__(self) -> None:
        self._told = 0
        self._reading: dict[tuple[int, int, int], asyncio.Task[Found]] = {}
        self._waiting: dict[int, set[asyncio.Event]] = {}
        self._task: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def news_of(self, job_id: int) -> AsyncIterator[asyncio.Event]:
        """An event that is set whenever the job has news; the reader clears it."""
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._listen())
        event = asyncio.Event()
        self._waiting.setdefault(job_id, set()).add(event)
        try:
            yield event
        finally:
            self._waiting[job_id].discard(event)
            if not self._waiting[job_id]:
                del self._waiting[job_id]

    async def read_after(self, job_id: int, cursor: int) -> Found:
        """The events behind ``cursor``, read once for all who ask for them after the same news."""
        key = (job_id, cursor, self._told)
        if key not in self._reading:
            task = asyncio.get_running_loop().create_task(in_pool(read_after, job_id, cursor))
            task.add_done_callback(lambda _: self._reading.pop(key))
            self._reading[key] = task
        return await asyncio.shield(self._reading[key])

    async def _listen(self) -> None:
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(
                    settings.DATABASE_URL, autocommit=True
                ) as listening:
                    await listening.execute(f"listen {CHANNEL}")
                    self._wake_all()  # what happened while nobody listened is read from the cursor
                    async for notification in listening.notifies():
                        self._wake(int(notification.payload))
            except psycopg.OperationalError as error:
                log.warning("Live updates lost the database: %s", error)
                await asyncio.sleep(RECONNECT_SECONDS)

    def _wake(self, job_id: int) -> None:
        self._told += 1
        for event in self._waiting.get(job_id, ()):
            event.set()

    def _wake_all(self) -> None:
        for job_id in self._waiting:
            self._wake(job_id)


hub = Hub()


def _cursor(request: HttpRequest) -> int:
    text = request.headers.get("Last-Event-ID") or request.GET.get("after", "0")
    return parse_whole_number(text, GREATEST) or 0


def _job_id(request: HttpRequest, team: str, uid: str) -> int:
    """The job's key if the signed-in user may see it. Raises Http404."""
    try:
        access = find_access(require_user(request), team)
        return access.get(Job.objects.only("pk", "team"), uid=uid).pk
    finally:
        # An open page would hold the connection of its request's thread until it is closed.
        if not connection.in_atomic_block:
            connection.close()


def _data(event: JobEvent) -> dict[str, Any]:
    """What the page gets; for metrics, the points themselves."""
    if event.kind != "metrics":
        return dict(event.data)
    steps = range(event.data["first"], event.data["last"] + 1)
    rows = Metric.objects.filter(job_id=event.job_id, step__in=steps).order_by("step")
    return {"points": [{"step": row.step, "values": row.values} for row in rows]}


def select_events(job_id: int, cursor: int) -> Found:
    """The events behind ``cursor``, oldest first, and whether the job has ended with them."""
    ended = Job.objects.filter(pk=job_id, state__in=TERMINAL).exists()
    rows = JobEvent.objects.filter(job_id=job_id, pk__gt=cursor).order_by("pk")[:BATCH]
    found = [(row.pk, row.kind, _data(row)) for row in rows]
    return found, ended and len(found) < BATCH


def read_after(job_id: int, cursor: int) -> Found:
    """``select_events`` in a thread of the pool, which keeps no stale connection."""
    close_old_connections()
    try:
        return select_events(job_id, cursor)
    finally:
        close_old_connections()


def _message(kind: str, data: dict[str, Any], cursor: int) -> str:
    return f"id: {cursor}\nevent: {kind}\ndata: {json.dumps(data)}\n\n"


async def events(job_id: int, cursor: int) -> AsyncIterator[str]:
    """The stream's text: every event behind ``cursor``, then each as it happens, until the job ends."""
    yield f"retry: {RETRY_MILLISECONDS}\n\n"
    async with hub.news_of(job_id) as news:
        while True:
            news.clear()
            found, ended = await hub.read_after(job_id, cursor)
            for cursor, kind, data in found:
                yield _message(kind, data, cursor)
            if ended:
                yield _message("end", {}, cursor)
                return
            if len(found) == BATCH:
                continue
            try:
                await asyncio.wait_for(news.wait(), HEARTBEAT_SECONDS)
            except TimeoutError:
                yield ": still here\n\n"


async def stream(request: HttpRequest, team: str, uid: str) -> StreamingHttpResponse:
    """``GET …/stream/?after=ID``: the job's events; a browser resumes by Last-Event-ID."""
    async with _door:
        await request.auser()  # loads the session outside the event loop's thread
        job_id = await sync_to_async(_job_id)(request, team, uid)
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return StreamingHttpResponse(
        events(job_id, _cursor(request)), content_type="text/event-stream", headers=headers
    )
