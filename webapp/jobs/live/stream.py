"""Live updates of a job as server-sent events: from a cursor on, then by LISTEN."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import ParamSpec, TypeVar

import psycopg
from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import close_old_connections, connection
from django.http import HttpRequest, StreamingHttpResponse

from webapp.core.input_checks import GREATEST, parse_whole_number
from webapp.jobs.job_events import API_KINDS, CHANNEL
from webapp.jobs.models import Job, JobEvent, Metric
from webapp.jobs.states import TERMINAL
from webapp.teams.access import find_access, require_user
from workers.contract.json_types import JsonObject

log = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")
HEARTBEAT_SECONDS = 15
RECONNECT_SECONDS = 1
RETRY_MILLISECONDS = 2000
BATCH = 500
READERS = 8  # most connections to the database, however many pages are open
# (id, kind, data) of each event, and True if the job has ended with them
Batch = tuple[list[tuple[int, str, JsonObject]], bool]
_admission = asyncio.Semaphore(READERS)  # after a restart all open pages reconnect at once
_pool = ThreadPoolExecutor(READERS, thread_name_prefix="stream")


async def run_in_pool(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call the function in one of the few threads that may read the database for streams."""
    return await asyncio.get_running_loop().run_in_executor(_pool, partial(function, *args, **kwargs))


class Hub:
    """One LISTEN connection for all streams of this process, with shared queries."""

    def __init__(self) -> None:
        self._notifications = 0
        self._reading: dict[tuple[int, int, int], asyncio.Task[Batch]] = {}
        self._waiting: dict[int, set[asyncio.Event]] = {}
        self._task: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def subscribe(self, job_id: int) -> AsyncIterator[asyncio.Event]:
        """Yield an event that is set whenever the job has news; the reader clears it."""
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

    async def read_after(self, job_id: int, cursor: int) -> Batch:
        """Return the events after ``cursor``; simultaneous equal calls share one query."""
        key = (job_id, cursor, self._notifications)
        if key not in self._reading:
            task = asyncio.get_running_loop().create_task(run_in_pool(read_after, job_id, cursor))
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
                    self._wake_all()  # events that came without a connection are read from the cursor
                    async for notification in listening.notifies():
                        self._wake(int(notification.payload))
            except psycopg.OperationalError as error:
                log.warning("Live updates lost the database: %s", error)
                await asyncio.sleep(RECONNECT_SECONDS)

    def _wake(self, job_id: int) -> None:
        self._notifications += 1
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
    """The job's primary key if the signed-in user may see it. Raises Http404."""
    try:
        access = find_access(require_user(request), team)
        return access.get(Job.objects.only("pk", "team"), uid=uid).pk
    finally:
        # Otherwise the connection of this thread would stay open as long as the page.
        if not connection.in_atomic_block:
            connection.close()


def _build_data(event: JobEvent) -> JsonObject:
    """The event's data; of an event about metrics, the metrics themselves."""
    if event.kind != "metrics":
        return dict(event.data)
    steps = range(event.data["first"], event.data["last"] + 1)
    rows = Metric.objects.filter(job_id=event.job_id, step__in=steps).order_by("step")
    return {"points": [{"step": row.step, "values": row.values} for row in rows]}


def select_events(job_id: int, cursor: int) -> Batch:
    """Return the events after ``cursor``, oldest first, and True if the job has ended with them."""
    ended = Job.objects.filter(pk=job_id, state__in=TERMINAL).exists()
    events = JobEvent.objects.filter(job_id=job_id, pk__gt=cursor).exclude(kind__in=API_KINDS)
    rows = events.order_by("pk")[:BATCH]
    found = [(row.pk, row.kind, _build_data(row)) for row in rows]
    return found, ended and len(found) < BATCH


def read_after(job_id: int, cursor: int) -> Batch:
    """Call ``select_events`` in a thread of the pool, without a stale connection."""
    close_old_connections()
    try:
        return select_events(job_id, cursor)
    finally:
        close_old_connections()


def _format_message(kind: str, data: JsonObject, cursor: int) -> str:
    return f"id: {cursor}\nevent: {kind}\ndata: {json.dumps(data)}\n\n"


async def stream_events(job_id: int, cursor: int) -> AsyncIterator[str]:
    """Yield the events after ``cursor`` as text, then each new event, until the job ends."""
    yield f"retry: {RETRY_MILLISECONDS}\n\n"
    async with hub.subscribe(job_id) as news:
        while True:
            news.clear()
            found, ended = await hub.read_after(job_id, cursor)
            for cursor, kind, data in found:
                yield _format_message(kind, data, cursor)
            if ended:
                yield _format_message("end", {}, cursor)
                return
            if len(found) == BATCH:
                continue
            try:
                await asyncio.wait_for(news.wait(), HEARTBEAT_SECONDS)
            except TimeoutError:
                yield ": still here\n\n"


async def stream(request: HttpRequest, team: str, uid: str) -> StreamingHttpResponse:
    """``GET …/stream/?after=ID``: events of the job; a browser resumes by Last-Event-ID."""
    async with _admission:
        await request.auser()  # loads the session outside the event loop's thread
        job_id = await sync_to_async(_job_id)(request, team, uid)
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return StreamingHttpResponse(
        stream_events(job_id, _cursor(request)), content_type="text/event-stream", headers=headers
    )
