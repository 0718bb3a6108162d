"""State changes of jobs and their events. No other module changes a job's state."""

from __future__ import annotations

from typing import Any

from django.db import connection
from django.db.models import Q
from django.utils import timezone

from webapp.jobs.live import notifications
from webapp.jobs.models import Job, JobEvent
from webapp.jobs.states import TERMINAL, State, list_sources
from workers.contract.devices import GivenDevices
from workers.contract.json_types import JsonObject

CHANNEL = "groove_jobs"


def notify_streams(job_id: int) -> None:
    """Notify all live streams of the job; PostgreSQL delivers it when the transaction commits."""
    with connection.cursor() as cursor:
        cursor.execute("select pg_notify(%s, %s)", [CHANNEL, str(job_id)])


def add_event(job_id: int, attempt: int, kind: str, data: JsonObject) -> None:
    """Add an event to the job's history and its live streams. Call it with the job's row locked."""
    JobEvent.objects.create(job_id=job_id, attempt=attempt, kind=kind, data=data)
    notify_streams(job_id)


def change_state(job_id: int, target: State, *, guard: Q | None = None, **changes: Any) -> bool:
    """Change the state if the transitions and ``guard`` allow it. Needs a transaction.

    Return False, with nothing changed, if another process was first; that is no error.
    """
    now = timezone.now()
    values: dict[str, object] = {"finished_at": now} if target in TERMINAL else {}
    if target == State.QUEUED:
        values |= {"queued_at": now, "error": None}
    if target != State.RUNNING:
        values |= {"lease_until": None, "devices": GivenDevices(), "node": None, "stop_requested": ""}
    allowed = Job.objects.filter(Q(pk=job_id, state__in=list_sources(target)) & (guard or Q()))
    if not allowed.update(state=target, **(values | changes)):
        return False
    attempt, node = Job.objects.values_list("attempt", "node__name").get(pk=job_id)
    data: JsonObject = {"state": target}
    if node:
        data["node"] = node
    add_event(job_id, attempt, "state", data)
    if target in TERMINAL:
        notifications.create_notice(job_id, target)
        notifications.create_webhook_event(job_id, target)
    return True
