"""Filters, orders, columns and pages of a team's list of jobs."""

from __future__ import annotations

from datetime import timedelta
from typing import TypedDict

from django.core.paginator import Page, Paginator
from django.db.models import Case, Exists, OrderBy, OuterRef, Prefetch, Q, QuerySet
from django.http import QueryDict
from django.utils import timezone

from webapp.jobs.evaluations import order_by_gain
from webapp.jobs.listing import pinned_jobs, tags
from webapp.jobs.models import Alarm, Evaluation, Job, Pin
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
DEFAULT_COLUMNS = ("state", "reward", "gain", "data", "launched")
RECENT_FAILURE = timedelta(days=7)
SORTS: dict[str, tuple[str, tuple[str | OrderBy | Case, ...]]] = {
    "": ("Pinned, then newest", (pinned_jobs.PINNED_FIRST, "-id")),
    "newest": ("Newest first", ("-id",)),
    "oldest": ("Oldest first", ("id",)),
    "gain": ("Greatest gain", (order_by_gain("pk"), "-id")),
    "name": ("Name", ("name", "-id")),
    "state": ("State", ("state", "-id")),
}


def list_columns(user: User) -> list[str]:
    """Return the columns that the user selected, in the order of the table."""
    selected = user.job_columns or DEFAULT_COLUMNS
    return [name for name in COLUMNS if name in selected]


def match_active() -> Q:
    """Return the condition for jobs that run or wait to run."""
    return Q(state__in=[State.VALIDATING_FILES, State.QUEUED, State.RUNNING])


def match_attention() -> Q:
    """Return the condition for jobs that paused, failed within a week, or run with an alarm."""
    failed = Q(state=State.FAILED, finished_at__gt=timezone.now() - RECENT_FAILURE)
    alarmed = Q(Exists(Alarm.objects.filter(job=OuterRef("pk"))), state=State.RUNNING)
    return Q(state=State.PAUSED) | failed | alarmed


GROUPS = {"active": ("Running and queued", match_active), "attention": ("Needs attention", match_attention)}


class ListContext(TypedDict):
    """The context of ``jobs/list.html`` that follows from the query string."""

    page: Page[Job]
    chosen: dict[str, str]
    filtered: bool
    tags: list[tuple[str, str]]
    changing: bool
    people: QuerySet[User]
    baseline: Job | None
    states: list[tuple[str, str]]
    models: QuerySet[BaseModel]
    sorts: list[tuple[str, str]]


def build_page_context(team: Team, query: QueryDict) -> ListContext:
    """Return the page of jobs that match the query, and the values and options of its filters."""
    values = {name: query.get(name, "").replace("\x00", "").strip() for name in FIELDS}
    jobs = _select_jobs(team, values).prefetch_related(
        Prefetch("evaluations", Evaluation.objects.defer("comparison"))
    )
    page = Paginator(jobs, PAGE).get_page(query.get("page", "1"))
    return {
        "page": page,
        "chosen": values,
        "filtered": any(values[name] for name in FIELDS if name != "sort"),
        "tags": [(tag, tag) for tag in tags.list_tags(team)],
        "changing": any(job.live for job in page),
        "people": User.objects.filter(pk__in=team.jobs.values("created_by")).order_by("email"),
        "baseline": pinned_jobs.list_pinned(team).filter(pin=Pin.BASELINE).first(),
        "states": [*((key, title) for key, (title, _) in GROUPS.items()), *State.choices],
        "models": BaseModel.objects.filter(jobs__team=team).distinct(),
        "sorts": [(key, title) for key, (title, _) in SORTS.items()],
    }


def _select_jobs(team: Team, values: dict[str, str]) -> QuerySet[Job]:
    jobs = Job.objects.filter(team=team, deleted_at=None).select_related(
        "team", "base_model", "created_by", "dataset_version__dataset", "grader_version__grader"
    ).defer("dataset_version__report")  # fmt: skip
    if values["state"] in State.values:
        jobs = jobs.filter(state=values["state"])
    elif values["state"] in GROUPS:
        jobs = jobs.filter(GROUPS[values["state"]][1]())
    if values["tag"]:
        jobs = jobs.filter(tags__contains=[values["tag"]])
    if values["model"]:
        jobs = jobs.filter(base_model__uid=values["model"])
    if values["by"]:
        jobs = jobs.filter(created_by__email=values["by"])
    if text := values["q"]:
        data, grader = "dataset_version__dataset__name", "grader_version__grader__name"
        own = Q(name__icontains=text) | Q(uid=text) | Q(notes__icontains=text) | Q(tags__contains=[text])
        jobs = jobs.filter(own | Q(**{f"{data}__icontains": text}) | Q(**{f"{grader}__icontains": text}))
    return jobs.order_by(*SORTS.get(values["sort"], SORTS[""])[1])
