"""The one place where a job changes state."""

from __future__ import annotations

from typing import Any

from django.db import connection
from django.db.models import Q
from django.utils import timezone

from webapp.jobs.live import notifications
from webapp.jobs.models import Job, JobEvent
from webapp.jobs.states import TERMINAL, State, sources
from workers.contract.devices import GivenDevices

CHANNEL = "groove_jobs"


def notify(job_id: int) -> None:
    """Tell every live stream, on commit, that this job has news."""
    with connection.cursor() as cursor:
        cursor.execute("select pg_notify(%s, %s)", [CHANNEL, str(job_id)])


def tell(job_id: int, attempt: int, kind: str, data: dict[str, Any]) -> None:
    """Add an event to the job's history and its live streams. Call it with the job's row locked."""
    JobEvent.objects.create(job_id=job_id, attempt=attempt, kind=kind, data=data)
    notify(job_id)


def move(job_id: int, target: State, *, guard: Q | None = None, **changes: Any) -> bool:
    """Change the state if the table of transitions and ``guard`` allow it; call it in a transaction.

    False means that someone was first: nothing was changed, which is no error.
    """
    now = timezone.now()
    stamps: dict[str, Any] = {"finished_at": now} if target in TERMINAL else {}
    if target == State.QUEUED:
        stamps |= {"queued_at": now, "error": None}
    if target != State.RUNNING:
        stamps |= {"lease_until": None, "devices": GivenDevices(), "node": None, "stop_requested": ""}
    allowed = Job.objects.filter(Q(pk=job_id, state__in=sources(target)) & (guard or Q()))
    if not allowed.update(state=target, **(stamps | changes)):
        return False
    attempt, node = Job.objects.values_list("attempt", "node__name").get(pk=job_id)
    tell(job_id, attempt, "state", {"state": target} | ({"node": node} if node else {}))
    if target in TERMINAL:
        notifications.owe(job_id, target)
    return True
