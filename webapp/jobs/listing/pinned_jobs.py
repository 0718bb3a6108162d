"""Jobs that a team keeps at hand: pinned ones, and the one baseline that others are held against."""

from __future__ import annotations

from django.contrib import messages
from django.db import transaction
from django.db.models import Case, QuerySet, When
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from webapp.jobs.errors import WrongState
from webapp.jobs.models import Job, Pin
from webapp.teams.access import Access, member
from webapp.teams.models import Role, Team, User
from webapp.teams.services import record_event
from workers.contract.methods import METHODS

MOST_PINS = 7
VERBS = {"": "unpinned job", Pin.PINNED: "pinned job", Pin.BASELINE: "made the baseline"}
SAID = {"": "Unpinned.", Pin.PINNED: "Pinned for the team.", Pin.BASELINE: "This is the team's baseline now."}
FIRST = Case(When(pin=Pin.BASELINE, then=0), When(pin=Pin.PINNED, then=1), default=2)


def pinned(team: Team) -> QuerySet[Job]:
    """The baseline, if there is one, then the pinned jobs, the newest first."""
    return Job.objects.filter(team=team, deleted_at=None).exclude(pin="").order_by(FIRST, "-pk")


@transaction.atomic
def pin(job: Job, user: User, how: str) -> None:
    """Pin a job, make it the baseline (the one before stays pinned), or, with ``""``, unpin it.

    Raises ``WrongState`` where too many are pinned.
    """
    Team.objects.select_for_update().get(pk=job.team_id)
    others = pinned(job.team).exclude(pk=job.pk)
    if how and others.count() >= MOST_PINS:
        raise WrongState(f"{MOST_PINS} jobs are pinned already; unpin one of them first.")
    if how == Pin.BASELINE and not METHODS[job.method].can_be_baseline:
        raise WrongState("A placebo trains on random rewards, so it is no baseline. Choose its RFT job.")
    if how == Pin.BASELINE:
        others.filter(pin=Pin.BASELINE).update(pin=Pin.PINNED)
    Job.objects.filter(pk=job.pk).update(pin=how)
    record_event(job.team, user, VERBS[how], job)


@member(Role.EDITOR)
@require_POST
def change(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """What ``pin`` says: pinned, baseline, or nothing."""
    job = access.get(Job.objects.filter(deleted_at=None).select_related("team"), uid=uid)
    how = request.POST.get("pin", "")
    try:
        pin(job, access.user, how if how in Pin.values else "")
    except WrongState as error:
        messages.error(request, str(error))
    else:
        messages.success(request, SAID[how if how in Pin.values else ""])
    return redirect(job)
