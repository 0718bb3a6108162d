"""What people do with a job: cancel, pause, resume, rename, finish early."""

from __future__ import annotations

import re
from contextlib import suppress
from itertools import count

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from webapp.core.fields import replace_nul
from webapp.jobs.errors import WrongState
from webapp.jobs.models import Job
from webapp.jobs.states import State
from webapp.jobs.transitions import move, tell
from webapp.teams.models import User
from webapp.teams.services import record_event
from webapp.work import messages

NAME_LENGTH = 120
NAME_STEM = 110  # leaves room for a number
PREFLIGHT = "preflight"  # code of the error that a job waits with on the advice
FINISHING = "Told to finish early: training ends at the next step boundary, then evaluation begins."


@transaction.atomic
def request_cancel(job: Job, user: User | None) -> None:
    """End the job at once; its worker notices and stops. Checkpoints stay. Raises ``WrongState``."""
    if not move(job.pk, State.CANCELLED):
        raise _wrong_state(job, "cancelled")
    record_event(job.team, user, "cancelled job", job)


def replace(job: Job, user: User) -> None:
    """Cancel the job, for another stands in its place; one that has ended meanwhile stays as it is."""
    with suppress(WrongState):
        request_cancel(job, user)


@transaction.atomic
def rename(job: Job, user: User, name: str) -> None:
    """Give a job another name. Raises ValueError with what to change."""
    name = replace_nul(name).strip()
    if not 0 < len(name) <= NAME_LENGTH:
        raise ValueError(f"A job's name has 1 to {NAME_LENGTH} characters.")
    record_event(job.team, user, "renamed job", f"{job.name} to {name}")
    Job.objects.filter(pk=job.pk).update(name=name)


def next_name(job: Job) -> str:
    """The job's name with the next number that none of the team's jobs has."""
    stem, number = re.fullmatch(r"(.*?)(?: (\d{1,6}))?", job.name).groups()  # type: ignore[union-attr]
    stem = stem[:NAME_STEM]
    taken = set(Job.objects.filter(team=job.team, name__startswith=stem).values_list("name", flat=True))
    return next(name for n in count(int(number or 1) + 1) if (name := f"{stem} {n}") not in taken)


@transaction.atomic
def request_pause(job: Job, user: User | None) -> None:
    """Have the worker write a checkpoint and give the job back. Raises ``WrongState``."""
    running = Job.objects.select_for_update().filter(pk=job.pk, state=State.RUNNING).first()
    if running is None:
        raise _wrong_state(job, "paused")
    if running.stop_requested == "pause":
        return
    Job.objects.filter(pk=job.pk).update(stop_requested="pause")
    tell(job.pk, running.attempt, "request", {"request": "pause"})
    record_event(job.team, user, "paused job", job)


@transaction.atomic
def request_finish(job: Job, user: User | None) -> None:
    """End training at the next step boundary, then evaluate and package. Raises ``WrongState``.

    A paused job is queued for that and trains no further step. The request outlives crashes.
    """
    locked = Job.objects.select_for_update(of=("self",)).get(pk=job.pk)
    if locked.finish_early and locked.live:
        raise WrongState("The job is finishing early already.")
    if locked.state == State.RUNNING and locked.phase in ("evaluate", "package"):
        raise WrongState("Training has ended already: the model is being evaluated or packaged.")
    if not locked.may_finish_early:
        raise _wrong_state(job, "finished early")
    Job.objects.filter(pk=job.pk).update(finish_early=True)
    if locked.state == State.PAUSED:
        move(job.pk, State.QUEUED)
        messages.notify_workers("run_jobs")
    tell(job.pk, locked.attempt, "log", {"level": "info", "message": FINISHING})
    record_event(job.team, user, "finished job early", job)


@transaction.atomic
def resume_job(job: Job, user: User | None) -> None:
    """Queue a paused job again; it goes on from its last checkpoint. Raises ``WrongState``.

    A job that waits on its preflight's advice goes on against it, which is kept with the job.
    """
    against = job.error is not None and job.error.code == PREFLIGHT
    if not move(job.pk, State.QUEUED, guard=Q(state=State.PAUSED)):
        raise _wrong_state(job, "resumed")
    if against:
        Job.objects.filter(pk=job.pk).update(overruled_by=user)
    record_event(job.team, user, "went on against the preflight's advice" if against else "resumed job", job)
    messages.notify_workers("run_jobs")


def _wrong_state(job: Job, verb: str) -> WrongState:
    job.refresh_from_db()
    return WrongState(f"The job is {job.get_state_display().lower()}, so it cannot be {verb}.")


def queue_position(job: Job) -> int | None:
    """1 for the next job to start; None unless queued."""
    if job.state != State.QUEUED:
        return None
    ahead = Job.objects.filter(state=State.QUEUED, queued_at__lt=job.queued_at or timezone.now())
    return ahead.count() + 1
