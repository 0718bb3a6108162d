"""State changes of jobs and their events. No other module changes a job's state."""

from __future__ import annotations

from typing import Any

from django.db.models import Q
from django.utils import timezone

from webapp.jobs.job_events import add_event
from webapp.jobs.live import notifications
from webapp.jobs.models import Job
from webapp.jobs.results.step_events import report_steps
from webapp.jobs.states import TERMINAL, State, list_sources
from workers.contract.devices import GivenDevices
from workers.contract.json_types import JsonObject


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
    before = allowed.select_for_update(of=("self",)).values_list("state", flat=True).first()
    if before is None or not allowed.update(state=target, **(values | changes)):
        return False
    job = Job.objects.select_related("node").get(pk=job_id)
    if target in TERMINAL:
        _complete_events(job)
    data: JsonObject = {"state": target, "before": before}
    if job.node:
        data["node"] = job.node.name
    add_event(job_id, job.attempt, "state", data)
    if target in TERMINAL:
        notifications.create_notice(job_id, target)
        notifications.create_webhook_event(job_id, target)
    return True


def _complete_events(job: Job) -> None:
    """Add the events that come before the one of the job's end."""
    if report_steps(job, ended=True):
        job.save(update_fields=["reported_step"])
    if job.tuned_model:
        add_event(job.pk, job.attempt, "model", {"name": job.tuned_model.name})
