"""The queue of grader trials: claims with an attempt number, leases, and what happens to silent workers."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import F, Q
from django.utils import timezone

from webapp.core.fields import storable
from webapp.graders.models import GraderTrial
from webapp.jobs import bell

STEP_LEASE = timedelta(minutes=8)  # longer than one step may take: sampling or grading, 300 s each
State = GraderTrial.State


def claim_trial(trial_id: int) -> GraderTrial | None:
    """Return the queued trial as a new attempt that runs now; None if another worker was first."""
    queued = GraderTrial.objects.filter(pk=trial_id, state=State.QUEUED)
    now = timezone.now()
    claimed = queued.update(
        state=State.RUNNING, attempt=F("attempt") + 1, started_at=now, lease_until=_lease(now)
    )
    if not claimed:
        return None
    return GraderTrial.objects.select_related("team", "base_model", "second").get(pk=trial_id)


def renew_trial(trial: GraderTrial) -> bool:
    """Extend the lease by one step. False if the attempt has lost the trial."""
    return bool(_held(trial).update(lease_until=_lease(timezone.now())))


def finish_trial(trial: GraderTrial, results: list[dict[str, Any]], summary: dict[str, Any]) -> bool:
    """Store the results. False, and nothing changes, if the attempt has lost the trial."""
    ended = _held(trial).update(
        state=State.FINISHED, finished_at=timezone.now(), results=results, summary=summary, error=None
    )
    return bool(ended)


def fail_trial(trial: GraderTrial, message: str, remedy: str) -> bool:
    """Store why nothing was graded. False, and nothing changes, if the attempt has lost the trial."""
    error = {"message": storable(message), "remedy": remedy}
    return bool(_held(trial).update(state=State.FAILED, finished_at=timezone.now(), error=error))


def requeue_silent_trials() -> None:
    """Queue trials again whose lease has expired, fail those with too many crashes, notify the workers."""
    for trial in GraderTrial.objects.filter(state=State.RUNNING, lease_until__lt=timezone.now()):
        if trial.attempt > settings.MAX_DEATHS:
            fail_trial(
                trial,
                f"The worker stopped responding in {trial.attempt} attempts.",
                "Try fewer rows, or a smaller base model. Often the worker runs out of memory.",
            )
        else:
            _held(trial).update(state=State.QUEUED, lease_until=None)
    for trial_id in GraderTrial.objects.filter(state=State.QUEUED).values_list("pk", flat=True):
        bell.ring("run_trial", trial_id)


def _lease(now: datetime) -> datetime:
    return now + STEP_LEASE


def _held(trial: GraderTrial) -> Any:
    """The trial's row, as long as this attempt holds it."""
    return GraderTrial.objects.filter(Q(pk=trial.pk, attempt=trial.attempt, state=State.RUNNING))
