"""Selection of jobs for charts and comparison, by the query string or a search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Q, QuerySet
from django.http import QueryDict

from webapp.jobs.listing import pinned_jobs
from webapp.jobs.models import Job, Pin, prefetch_loaded_tasks
from webapp.teams.models import Team

MAX_JOBS = pinned_jobs.MAX_PINS + 1
OFFERED = 10
PINNED = "pinned"


@dataclass(frozen=True)
class Candidate:
    """A job that can be selected."""

    job: Job
    selected: bool


def select_jobs(team: Team, query: QueryDict, name: str, own: Job | None = None) -> list[Job]:
    """Return the jobs that the query names, in its order, at most eight, without ``own``, the page's job."""
    uids = list(dict.fromkeys(uid for uid in query.getlist(name) if own is None or uid != own.uid))[:MAX_JOBS]
    found = {job.uid: job for job in _load_related(Job.objects.filter(team=team, uid__in=uids))}
    return [found[uid] for uid in uids if uid in found]


def _load_related(jobs: QuerySet[Job]) -> QuerySet[Job]:
    """The jobs with the rows that pages show, so that eight jobs take as many queries as one."""
    jobs = jobs.select_related(
        "team", "base_model", "initial_adapter", "tuned_model__team", "held_out_grader__grader"
    )
    jobs = jobs.select_related("dataset_version__dataset__team", "grader_version__grader__team")
    suites = ("suites__dataset_version__dataset", "suites__grader_version__grader")
    return jobs.prefetch_related(prefetch_loaded_tasks(), *suites)


def count_left_out(query: QueryDict, name: str) -> int:
    """Return how many jobs the query names beyond the most that are compared."""
    return max(len(set(query.getlist(name))) - MAX_JOBS, 0)


def build_chooser_context(
    team: Team, selected: Sequence[Job], query: QueryDict, own: Job | None = None
) -> dict[str, object]:
    """Return the context of ``jobs/chooser.html``. ``own``, the page's job, is not offered.

    Offered are the selected jobs, then the pinned and the newest of those that match ``find``.
    """
    excluded = {job.pk for job in selected} | ({own.pk} if own else set())
    trained = Job.objects.alive().filter(team=team, step__gt=0, promoted_step=None)
    others = trained.exclude(pk__in=excluded).select_related("team", "base_model")
    find = query.get("find", "").replace("\x00", "").strip()
    if find:
        others = others.filter(Q(name__icontains=find) | Q(uid=find))
    others = others.order_by(pinned_jobs.PINNED_FIRST, "-pk")[: OFFERED + pinned_jobs.MAX_PINS]
    offered = [*(Candidate(job, True) for job in selected), *(Candidate(job, False) for job in others)]
    return {"offered": offered, "pinned": any(each.job.pin for each in offered), "find": find}


def expand_pinned(team: Team, query: QueryDict, name: str) -> str:
    """Return the query string with ids instead of ``pinned``; empty if it has none.

    So the URL of the page shows the same jobs when others are pinned.
    """
    uids = query.getlist(name)
    if PINNED not in uids:
        return ""
    expanded = query.copy()
    named = [uid for uid in uids if uid != PINNED]
    expanded.setlist(name, [*named, *pinned_jobs.list_pinned(team).values_list("uid", flat=True)])
    return expanded.urlencode()


def find_baseline(jobs: Sequence[Job]) -> Job | None:
    """Return the team's baseline if it is among the jobs."""
    return next((job for job in jobs if job.pin == Pin.BASELINE), None)
