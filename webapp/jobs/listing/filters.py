"""The list of a team's jobs: found by text, state and model, sorted, a page at a time."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.paginator import Page, Paginator
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import QueryDict
from django.utils import timezone

from webapp.jobs.evaluations import by_gain
from webapp.jobs.listing import pinned_jobs, tags
from webapp.jobs.models import Alarm, Job, Pin
from webapp.jobs.states import State
from webapp.registry.models import BaseModel
from webapp.teams.models import Team, User

PAGE = 50
FIELDS = ("q", "state", "model", "by", "tag", "sort")
COLUMNS = {
    "state": "State",
    "reward": "Reward",
    "gain": "Gain on held-out rows",
    "data": "Data and grader",
    "tags": "Tags and notes",
    "method": "Method",
    "steps": "Steps",
    "rate": "Learning rate",
    "group": "Group size",
    "time": "Training time",
    "launched": "Launched",
}
USUAL = ("state", "reward", "gain", "data", "launched")
FAILED_SINCE = timedelta(days=7)
SORTS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "": ("Pinned, then newest", (pinned_jobs.PINNED_FIRST, "-id")),
    "newest": ("Newest first", ("-id",)),
    "oldest": ("Oldest first", ("id",)),
    "gain": ("Greatest gain", (by_gain("pk"), "-id")),
    "name": ("Name", ("name", "-id")),
    "state": ("State", ("state", "-id")),
}


def columns_of(user: User) -> list[str]:
    """The columns that the person has chosen, in the table's order."""
    chosen = user.job_columns or USUAL
    return [name for name in COLUMNS if name in chosen]


def active() -> Q:
    """Jobs that run or wait for their turn."""
    return Q(state__in=[State.VALIDATING_FILES, State.QUEUED, State.RUNNING])


def needs_attention() -> Q:
    """Jobs that paused, failed within a week, or run with an alarm."""
    failed = Q(state=State.FAILED, finished_at__gt=timezone.now() - FAILED_SINCE)
    alarmed = Q(Exists(Alarm.objects.filter(job=OuterRef("pk"))), state=State.RUNNING)
    return Q(state=State.PAUSED) | failed | alarmed


GROUPS = {"active": ("Running and queued", active), "attention": ("Needs attention", needs_attention)}


def of(team: Team, query: QueryDict) -> dict[str, Any]:
    """The page of jobs that the address asks for, and what its filters hold."""
    chosen = {name: query.get(name, "").replace("\x00", "").strip() for name in FIELDS}
    page = _page(_found(team, chosen), query.get("page", "1"))
    return {
        "page": page,
        "chosen": chosen,
        "filtered": any(chosen[name] for name in FIELDS if name != "sort"),
        "tags": [(tag, tag) for tag in tags.tags_of(team)],
        "changing": any(job.live for job in page),
        "people": User.objects.filter(pk__in=team.jobs.values("created_by")).order_by("email"),
        "baseline": pinned_jobs.list_pinned(team).filter(pin=Pin.BASELINE).first(),
        "states": [*((key, title) for key, (title, _) in GROUPS.items()), *State.choices],
        "models": BaseModel.objects.filter(jobs__team=team).distinct(),
        "sorts": [(key, title) for key, (title, _) in SORTS.items()],
    }


def _found(team: Team, chosen: dict[str, str]) -> QuerySet[Job]:
    jobs = Job.objects.filter(team=team, deleted_at=None).select_related(
        "team", "base_model", "created_by", "dataset_version__dataset", "grader_version__grader"
    ).defer("dataset_version__report")  # fmt: skip
    if chosen["state"] in State.values:
        jobs = jobs.filter(state=chosen["state"])
    elif chosen["state"] in GROUPS:
        jobs = jobs.filter(GROUPS[chosen["state"]][1]())
    if chosen["tag"]:
        jobs = jobs.filter(tags__contains=[chosen["tag"]])
    if chosen["model"]:
        jobs = jobs.filter(base_model__uid=chosen["model"])
    if chosen["by"]:
        jobs = jobs.filter(created_by__email=chosen["by"])
    if text := chosen["q"]:
        data, grader = "dataset_version__dataset__name", "grader_version__grader__name"
        own = Q(name__icontains=text) | Q(uid=text) | Q(notes__icontains=text) | Q(tags__contains=[text])
        jobs = jobs.filter(own | Q(**{f"{data}__icontains": text}) | Q(**{f"{grader}__icontains": text}))
    return jobs.order_by(*SORTS.get(chosen["sort"], SORTS[""])[1])


def _page(jobs: QuerySet[Job], number: str) -> Page[Job]:
    return Paginator(jobs.prefetch_related("evaluations"), PAGE).get_page(number)
