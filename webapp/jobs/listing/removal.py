"""Deletion of jobs: hidden at first and restorable; later large rows and files go."""

from __future__ import annotations

from datetime import timedelta

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from webapp.core import deletion
from webapp.jobs import checkpoints
from webapp.jobs.errors import ActionRefused
from webapp.jobs.models import Checkpoint, Job, JobEvent, Rollout
from webapp.jobs.states import TERMINAL
from webapp.teams.models import Team, User
from webapp.teams.services import record_event

KEPT_DAYS = 30
NAMED_JOBS = 3


class RemovalRefused(ActionRefused, deletion.RemovalRefused):
    """The job cannot be deleted now. The message has the reason and a remedy."""


def explain_refusal(job: Job) -> str:
    """Return why the job cannot be deleted now; empty if it can."""
    if job.live:
        state = job.get_state_display().lower()
        return f"“{job.name}” is {state}. Cancel it or wait until it ends, then delete it."
    dependents = Job.objects.filter(Q(control_of=job) | Q(interference_of=job) | Q(promoted_from=job))
    names = list(dependents.exclude(state__in=TERMINAL).values_list("name", flat=True)[: NAMED_JOBS + 1])
    if names:
        more = " and others" if len(names) > NAMED_JOBS else ""
        listed = ", ".join(f"“{name}”" for name in names[:NAMED_JOBS])
        return f"{listed}{more} needs “{job.name}” and has not ended. Cancel it or wait until it ends."
    return ""


@transaction.atomic
def delete_job(job: Job, user: User) -> None:
    """Hide the job and unpin it; its model and results stay. Raises ``RemovalRefused``."""
    locked = _lock(job)
    if reason := explain_refusal(locked):
        raise RemovalRefused(reason)
    if locked.mark_deleted():
        Job.objects.filter(pk=job.pk).update(pin="")
        record_event(locked.team, user, "deleted job", locked)


@transaction.atomic
def restore_job(job: Job, user: User) -> None:
    """Undo ``delete_job``; rollouts, log and checkpoints that are gone for good do not come back."""
    locked = _lock(job)
    if locked.mark_restored():
        record_event(locked.team, user, "restored job", locked)


def _lock(job: Job) -> Job:
    return Job.objects.select_for_update(of=("self",)).select_related("team").get(pk=job.pk)


def list_restorable(team: Team) -> QuerySet[Job]:
    """Return the team's deleted jobs, the last deleted first."""
    return Job.objects.deleted().filter(team=team).select_related("team").order_by("-deleted_at", "-pk")


def purge_deleted() -> int:
    """Delete rollouts, log and checkpoints of jobs deleted long ago. Return the jobs' number.

    Metrics and evaluations stay: models, comparisons and control runs still show them; so do checkpoints that
    a deployment names.
    """
    old = Job.objects.filter(deleted_at__lt=timezone.now() - timedelta(days=KEPT_DAYS))
    unserved = Checkpoint.objects.filter(served_versions=None)
    rows = (Rollout.objects.all(), JobEvent.objects.all(), unserved)
    remaining = [Exists(each.filter(job=OuterRef("pk"))) for each in rows]
    jobs = list(old.filter(remaining[0] | remaining[1] | remaining[2]))
    for job in jobs:
        with transaction.atomic():
            checkpoints.delete_unserved(job.checkpoints.all())
            job.rollouts.all().delete()
            job.events.all().delete()
    return len(jobs)
