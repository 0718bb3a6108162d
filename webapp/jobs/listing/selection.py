"""Jobs beside each other, in charts and in the comparison: which the address names, which may be added."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Q, QuerySet
from django.http import QueryDict

from webapp.jobs.listing import pinned_jobs
from webapp.jobs.models import Job, Pin, prefetch_loaded_tasks
from webapp.teams.models import Team

MOST_JOBS = pinned_jobs.MOST_PINS + 1
OFFERED = 10
PINNED = "pinned"


@dataclass(frozen=True)
class Offered:
    """A job whose lines may be drawn beside the others."""

    job: Job
    chosen: bool


def chosen(team: Team, query: QueryDict, name: str) -> list[Job]:
    """The team's jobs that the address names, in its order, at most eight; names of no job are left out."""
    uids = list(dict.fromkeys(query.getlist(name)))[:MOST_JOBS]
    found = {job.uid: job for job in _related(Job.objects.filter(team=team, uid__in=uids))}
    return [found[uid] for uid in uids if uid in found]


def _related(jobs: QuerySet[Job]) -> QuerySet[Job]:
    """With what pages name beside a job, so that eight jobs take as many queries as one."""
    jobs = jobs.select_related(
        "team", "base_model", "initial_adapter", "tuned_model__team", "held_out_grader__grader"
    )
    jobs = jobs.select_related("dataset_version__dataset__team", "grader_version__grader__team")
    suites = ("suites__dataset_version__dataset", "suites__grader_version__grader")
    return jobs.prefetch_related(prefetch_loaded_tasks(), *suites)


def left_out(query: QueryDict, name: str) -> int:
    """How many jobs the address names beyond those that fit beside each other."""
    return max(len(set(query.getlist(name))) - MOST_JOBS, 0)


def offered(team: Team, drawn: Sequence[Job], query: QueryDict, but: Job | None = None) -> dict[str, Any]:
    """``offered``: those that are drawn, then of all others, or of those that ``find`` names, the pinned
    and the newest; ``pinned``: whether there are pinned ones; ``find``.
    """
    known = {job.pk for job in drawn} | ({but.pk} if but else set())
    trained = Job.objects.filter(team=team, deleted_at=None, step__gt=0, promoted_step=None)
    others = trained.exclude(pk__in=known).select_related("team", "base_model")
    find = query.get("find", "").replace("\x00", "").strip()
    if find:
        others = others.filter(Q(name__icontains=find) | Q(uid=find))
    found = [
        *(Offered(job, True) for job in drawn),
        *(
            Offered(job, False)
            for job in others.order_by(pinned_jobs.PINNED_FIRST, "-pk")[: OFFERED + pinned_jobs.MOST_PINS]
        ),
    ]
    return {"offered": found, "pinned": any(each.job.pin for each in found), "find": find}


def spelt_out(team: Team, query: QueryDict, name: str) -> str:
    """The address's query with every pinned job by its id, where it asks for the pinned ones; else empty.

    So a link shows the same jobs when others are pinned.
    """
    uids = query.getlist(name)
    if PINNED not in uids:
        return ""
    asked = query.copy()
    known = [uid for uid in uids if uid != PINNED]
    asked.setlist(name, [*known, *pinned_jobs.list_pinned(team).values_list("uid", flat=True)])
    return asked.urlencode()


def baseline(jobs: Sequence[Job]) -> Job | None:
    """The team's baseline, if it is among the jobs."""
    return next((job for job in jobs if job.pin == Pin.BASELINE), None)
