"""Actions on a job: cancel, pause, resume, rename, finish early; and its queue position."""

from __future__ import annotations

import re
from contextlib import suppress
from itertools import count

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from webapp.core.fields import replace_nul
from webapp.jobs.errors import ActionRefused, WrongState
from webapp.jobs.job_events import add_event
from webapp.jobs.models import Job
from webapp.jobs.states import State
from webapp.jobs.transitions import change_state
from webapp.teams.models import User
from webapp.teams.services import record_event
from webapp.work import messages

NAME_LENGTH = 120
NAME_STEM = 110  # leaves room for a number
NUMBERED_NAME = re.compile(r"(.*?)(?: (\d{1,6}))?", re.DOTALL)  # a name may have line breaks
PREFLIGHT = "preflight"  # code of the error of a job that its preflight paused
FINISHING = "Finishing early: training ends at the next step boundary, then evaluation begins."


@transaction.atomic
def request_cancel(job: Job, user: User | None) -> None:
    """Cancel the job; its worker notices and stops. Checkpoints stay. Raises ``WrongState``."""
    if not change_state(job.pk, State.CANCELLED):
        raise _wrong_state(job, "cancelled")
    record_event(job.team, user, "cancelled job", job)


def replace(job: Job, user: User) -> None:
    """Cancel the job because another one replaces it; one that has ended stays unchanged."""
    with suppress(WrongState):
        request_cancel(job, user)


@transaction.atomic
def rename(job: Job, user: User, name: str) -> None:
    """Rename the job. Raises ``ActionRefused`` for an empty or too long name."""
    name = replace_nul(name).strip()
    if not 0 < len(name) <= NAME_LENGTH:
        raise ActionRefused(f"A job's name has 1 to {NAME_LENGTH} characters.")
    record_event(job.team, user, "renamed job", f"{job.name} to {name}")
    Job.objects.filter(pk=job.pk).update(name=name)


def next_name(job: Job) -> str:
    """Return the job's name with the next number that is free among the team's jobs."""
    stem, number = NUMBERED_NAME.fullmatch(job.name).groups()  # type: ignore[union-attr]
    stem = stem[:NAME_STEM]
    names = set(Job.objects.filter(team=job.team, name__startswith=stem).values_list("name", flat=True))
    return next(name for n in count(int(number or 1) + 1) if (name := f"{stem} {n}") not in names)


@transaction.atomic
def request_pause(job: Job, user: User | None) -> None:
    """Request that the worker writes a checkpoint and pauses the job. Raises ``WrongState``."""
    running = Job.objects.select_for_update().filter(pk=job.pk, state=State.RUNNING).first()
    if running is None:
        raise _wrong_state(job, "paused")
    if running.stop_requested == "pause":
        return
    Job.objects.filter(pk=job.pk).update(stop_requested="pause")
    add_event(job.pk, running.attempt, "request", {"request": "pause"})
    record_event(job.team, user, "paused job", job)


@transaction.atomic
def request_finish(job: Job, user: User | None) -> None:
    """End training at the next step boundary, then evaluate and package. Raises ``WrongState``.

    A paused job is queued again for this, without a further step. The request survives crashes.
    """
    locked = Job.objects.select_for_update(of=("self",)).get(pk=job.pk)
    if locked.finish_early and locked.live:
        raise WrongState("The job is already finishing early.")
    if locked.state == State.RUNNING and locked.phase in ("evaluate", "package"):
        raise WrongState("Training has ended already: the model is being evaluated or packaged.")
    if not locked.may_finish_early:
        raise _wrong_state(job, "finished early")
    Job.objects.filter(pk=job.pk).update(finish_early=True)
    if locked.state == State.PAUSED:
        change_state(job.pk, State.QUEUED)
        messages.notify_workers("run_jobs")
    add_event(job.pk, locked.attempt, "log", {"level": "info", "message": FINISHING})
    record_event(job.team, user, "finished job early", job)


@transaction.atomic
def resume_job(job: Job, user: User | None) -> None:
    """Queue a paused job again; it continues from its last checkpoint. Raises ``WrongState``.

    For a job that its preflight paused, the job records who overruled the advice.
    """
    overrules = job.error is not None and job.error.code == PREFLIGHT
    if not change_state(job.pk, State.QUEUED, guard=Q(state=State.PAUSED)):
        raise _wrong_state(job, "resumed")
    if overrules:
        Job.objects.filter(pk=job.pk).update(overruled_by=user)
    record_event(
        job.team, user, "went on against the preflight's advice" if overrules else "resumed job", job
    )
    messages.notify_workers("run_jobs")


def _wrong_state(job: Job, verb: str) -> WrongState:
    job.refresh_from_db()
    return WrongState(f"The job is {job.get_state_display().lower()}, so it cannot be {verb}.")


def queue_position(job: Job) -> int | None:
    """Return the position in the queue, from 1; None unless queued."""
    if job.state != State.QUEUED:
        return None
    ahead = Job.objects.filter(state=State.QUEUED, queued_at__lt=job.queued_at or timezone.now())
    return ahead.count() + 1
