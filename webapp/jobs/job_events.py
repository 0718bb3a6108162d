"""The events of a job: its history, which pages follow live and the API lists."""

from __future__ import annotations

from django.db import connection

from webapp.jobs.models import JobEvent
from workers.contract.json_types import JsonObject

CHANNEL = "groove_jobs"
API_KINDS = ("created", "validating", "step", "model")  # pages show the same elsewhere


def notify_streams(job_id: int) -> None:
    """Notify all live streams of the job; PostgreSQL delivers it when the transaction commits."""
    with connection.cursor() as cursor:
        cursor.execute("select pg_notify(%s, %s)", [CHANNEL, str(job_id)])


def add_event(job_id: int, attempt: int, kind: str, data: JsonObject) -> None:
    """Add an event to the job's history and its live streams. Call it with the job's row locked."""
    JobEvent.objects.create(job_id=job_id, attempt=attempt, kind=kind, data=data)
    notify_streams(job_id)
