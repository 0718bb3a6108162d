"""The list of a team's jobs: its columns, filters and sort orders."""

from __future__ import annotations

from datetime import timedelta

from django.core.paginator import Page
from django.db.models import Exists, OuterRef, Prefetch, Q, QuerySet
from django.http import QueryDict
from django.utils import timezone

from webapp.core.listing import ListQuery, Sorts
from webapp.jobs.evaluations import order_by_gain
from webapp.jobs.listing import pinned_jobs, tags
from webapp.jobs.models import Alarm, Evaluation, Job, Pin
from webapp.jobs.states import State
from webapp.registry.models import BaseModel
from webapp.teams.models import Team, User

PAGE_SIZE = 50
FILTERS = ("state", "model", "by", "tag")
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
SORTS: Sorts = {
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


def build_context(team: Team, query: QueryDict) -> tuple[Page[Job], dict[str, object]]:
    """Return the page of jobs that the query string asks for, and what ``jobs/list.html`` shows of it."""
    wanted = ListQuery(query, SORTS, FILTERS)
    page = wanted.paginate(_filter_jobs(team, wanted.filters), PAGE_SIZE)
    return page, wanted.build_context() | {
        "page": page,
        "tags": [(tag, tag) for tag in tags.list_tags(team)],
        "changing": any(job.live for job in page),
        "people": User.objects.filter(pk__in=team.jobs.values("created_by")).order_by("email"),
        "baseline": pinned_jobs.list_pinned(team).filter(pin=Pin.BASELINE).first(),
        "states": [*((key, title) for key, (title, _) in GROUPS.items()), *State.choices],
        "models": BaseModel.objects.filter(jobs__team=team).distinct(),
    }


def _filter_jobs(team: Team, filters: dict[str, str]) -> QuerySet[Job]:
    jobs = Job.objects.alive().filter(team=team).select_related(
        "team", "base_model", "created_by", "dataset_version__dataset", "grader_version__grader"
    ).defer("dataset_version__report")  # fmt: skip
    jobs = jobs.prefetch_related(Prefetch("evaluations", Evaluation.objects.defer("comparison")))
    if filters["state"] in State.values:
        jobs = jobs.filter(state=filters["state"])
    elif filters["state"] in GROUPS:
        jobs = jobs.filter(GROUPS[filters["state"]][1]())
    if filters["tag"]:
        jobs = jobs.filter(tags__contains=[filters["tag"]])
    if filters["model"]:
        jobs = jobs.filter(base_model__uid=filters["model"])
    if filters["by"]:
        jobs = jobs.filter(created_by__email=filters["by"])
    if text := filters["q"]:
        data, grader = "dataset_version__dataset__name", "grader_version__grader__name"
        own = Q(name__icontains=text) | Q(uid=text) | Q(notes__icontains=text) | Q(tags__contains=[text])
        jobs = jobs.filter(own | Q(**{f"{data}__icontains": text}) | Q(**{f"{grader}__icontains": text}))
    return jobs
