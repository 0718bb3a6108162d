"""Jobs that a team pins, and the one baseline that other jobs are compared with."""

from __future__ import annotations

from django.db import transaction
from django.db.models import Case, QuerySet, When

from webapp.jobs.errors import WrongState
from webapp.jobs.models import Job, Pin
from webapp.teams.models import Team, User
from webapp.teams.services import record_event

MAX_PINS = 7
VERBS = {"": "unpinned job", Pin.PINNED: "pinned job", Pin.BASELINE: "made the baseline"}
PINNED_FIRST = Case(When(pin=Pin.BASELINE, then=0), When(pin=Pin.PINNED, then=1), default=2)


def list_pinned(team: Team) -> QuerySet[Job]:
    """The baseline, if there is one, then the pinned jobs, the newest first."""
    return Job.objects.alive().filter(team=team).exclude(pin="").order_by(PINNED_FIRST, "-pk")


@transaction.atomic
def pin_job(job: Job, user: User, kind: str) -> None:
    """Pin a job, make it the baseline (the old baseline stays pinned), or unpin it with ``""``.

    Raises ``WrongState`` if too many jobs are pinned, and for a method that cannot be the baseline.
    """
    # The lock keeps two members from pinning at once, past the limit or to two baselines.
    Team.objects.select_for_update().get(pk=job.team_id)
    others = list_pinned(job.team).exclude(pk=job.pk)
    if kind and others.count() >= MAX_PINS:
        raise WrongState(f"{MAX_PINS} jobs are pinned already; unpin one of them first.")
    method = job.training_method
    if kind == Pin.BASELINE and not method.can_be_baseline:
        name = method.label_in_text
        raise WrongState(f"A {name} trains on random rewards, so it is no baseline. Choose its RFT job.")
    if kind == Pin.BASELINE:
        others.filter(pin=Pin.BASELINE).update(pin=Pin.PINNED)
    Job.objects.filter(pk=job.pk).update(pin=kind)
    record_event(job.team, user, VERBS[kind], job)
