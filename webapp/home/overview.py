"""What a team's home shows: what there is, what runs, what waits for a person, and what came out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from django.db.models import Case, Exists, F, Func, IntegerField, QuerySet, Subquery, When
from django.urls import reverse

from webapp.calibration import services as calibration
from webapp.datasets.versions.sealing import find_opened
from webapp.jobs.listing import filters
from webapp.jobs.models import Alarm, Evaluation, Job
from webapp.jobs.monitor import metrics
from webapp.jobs.monitor.openings import jobs_with_openings
from webapp.jobs.states import State
from webapp.teams import audit
from webapp.teams.models import Team
from webapp.work import nodes

RESULTS_SHOWN = 5
ATTENTION_SHOWN = 6
RUNNING_SHOWN = 10


# --- what there is ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Counts:
    """How much a team has, and whether it ever downloaded a model or opened a test split."""

    datasets: int
    graders: int
    models: int
    jobs: int
    running: int
    waiting: int
    attention: int
    workers: int
    downloaded: bool
    opened: bool

    @property
    def active(self) -> int:
        return self.running + self.waiting


def counts(team: Team) -> Counts:
    """All of them, in one query."""
    active = team.jobs.filter(deleted_at=None).filter(filters.active())
    values = (
        _count(team.datasets.filter(deleted_at=None)),
        _count(team.graders.filter(deleted_at=None)),
        _count(team.tuned_models.filter(deleted_at=None)),
        _count(team.jobs.filter(deleted_at=None)),
        _count(active.filter(state=State.RUNNING)),
        _count(active.exclude(state=State.RUNNING)),
        _count(team.jobs.filter(deleted_at=None).filter(filters.needs_attention())),
        _count(nodes.online()),
        Exists(audit.model_downloads(team)),
        Exists(find_opened(team.pk)),
    )
    return Counts(*Team.objects.filter(pk=team.pk).values_list(*values).get())


def _count(objects: QuerySet[Any]) -> Subquery:
    counted = objects.order_by().annotate(found=Func("pk", function="COUNT", output_field=IntegerField()))
    return Subquery(counted.values("found"))


@dataclass(frozen=True)
class Tile:
    """A number that leads to what it counts."""

    label: str
    value: int
    hint: str
    url: str


def tiles(team: Team, found: Counts) -> list[Tile]:
    """What the team has, and who works for it."""
    at_work = f"{found.running} running, {found.waiting} waiting" if found.active else "none running"
    told = (
        ("Datasets", found.datasets, "", "datasets:list"),
        ("Graders", found.graders, "", "graders:list"),
        ("Jobs", found.jobs, at_work, "jobs:list"),
        ("Models", found.models, "", "catalog:list"),
        ("Workers online", found.workers, "", "jobs:workers"),
    )
    return [Tile(label, value, hint, reverse(url, args=[team.slug])) for label, value, hint, url in told]


# --- what waits for a person -----------------------------------------------------------------------


@dataclass(frozen=True)
class Attention:
    """Something that waits for a person: what, why, and where to go. ``command`` is one to type."""

    key: str
    kind: str
    word: str
    title: str
    text: str
    url: str
    command: str = ""


def attention(team: Team, found: Counts) -> list[Attention]:
    """A queue without workers, jobs that failed or paused, and jobs that run with an alarm; at most six."""
    jobs = team.jobs.filter(deleted_at=None).filter(filters.needs_attention()).select_related("team")
    worst = list(jobs.order_by(F("finished_at").desc(nulls_last=True), "state", "-id")[:ATTENTION_SHOWN])
    running = [job for job in worst if job.state == State.RUNNING]
    alarms = Alarm.objects.filter(job__in=running).order_by("job_id", "-step", "id").distinct("job_id")
    newest = {alarm.job_id: alarm for alarm in alarms} if running else {}
    told = [_alarmed(job, newest[job.pk]) if job.pk in newest else _stopped(job) for job in worst]
    return [*_no_worker(team, found), *told][:ATTENTION_SHOWN]


def unshown(found: Counts, shown: list[Attention]) -> int:
    """How many more jobs wait for a person than ``shown``."""
    return max(0, found.attention - sum(each.key != NO_WORKER for each in shown))


NO_WORKER = "worker"


def _no_worker(team: Team, found: Counts) -> Iterator[Attention]:
    if found.waiting and not found.workers:
        title = f"{found.waiting} job{'s' * (found.waiting != 1)} in the queue, and no worker is online"
        text = "On a machine that reaches the database, broker and storage, start one with"
        url = reverse("jobs:workers", args=[team.slug])
        yield Attention(NO_WORKER, "error", "no worker", title, text, url, "make worker")


def _alarmed(job: Job, alarm: Alarm) -> Attention:
    title, url = f"{job.name}: alarm at step {alarm.step}", job.get_absolute_url()
    return Attention(job.uid, "warning", "alarm", title, alarm.message, f"{url}rollouts/?alarm={alarm.code}")


def _stopped(job: Job) -> Attention:
    kind, word = ("warning", "paused") if job.state == State.PAUSED else ("error", "failed")
    error = job.error or {}
    text = " ".join(filter(None, [error.get("message"), error.get("remedy")])) or "Somebody paused it."
    return Attention(job.uid, kind, word, f"{job.name} {word}", text, job.get_absolute_url())


# --- what runs, and what came out ------------------------------------------------------------------


def running(team: Team) -> list[Job]:
    """Jobs that run, then those that wait, the newest first; at most ten."""
    first = Case(When(state=State.RUNNING, then=0), default=1)
    jobs = team.jobs.filter(deleted_at=None).filter(filters.active()).select_related("base_model", "team")
    return list(jobs.order_by(first, "-id")[:RUNNING_SHOWN])


@dataclass(frozen=True)
class Result:
    """A finished job with its reward over the steps and its last comparison, where there are such.

    ``uncalibrated`` says that a judge gave the rewards and no card says how far to trust it, ``test_opened``
    that a test split with its rows was opened before its end.
    """

    job: Job
    rewards: list[float]
    evaluation: Evaluation | None
    uncalibrated: bool
    test_opened: bool


def results(team: Team, found: Counts) -> list[Result]:
    """The latest jobs that succeeded."""
    jobs = list(
        team.jobs.filter(deleted_at=None, state=State.SUCCEEDED).select_related(
            "team", "base_model", "tuned_model__team", "grader_version__grader"
        )[:RESULTS_SHOWN]
    )
    rewards, evaluations = metrics.rewards(jobs), _evaluations(jobs)
    unsure = calibration.find_uncalibrated(team, [job.grader_version for job in jobs])
    opened = jobs_with_openings(jobs) if found.opened else set()
    return [
        Result(
            job,
            rewards.get(job.pk, []),
            evaluations.get(job.pk),
            uncalibrated=job.grader_version_id in unsure,
            test_opened=job.pk in opened,
        )
        for job in jobs
    ]


def _evaluations(jobs: Iterable[Job]) -> dict[int, Evaluation]:
    """Job -> its comparison after training."""
    after = Evaluation.objects.filter(job__in=list(jobs), stage="after", task="").order_by("id")
    return {evaluation.job_id: evaluation for evaluation in after}
