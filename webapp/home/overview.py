"""A team's home page: counts, running jobs, items that need attention, latest results."""

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


# --- counts ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Counts:
    """Counts of a team's objects, and whether it downloaded a model or opened a test split."""

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


def count_objects(team: Team) -> Counts:
    """All of them, in one query."""
    active = team.jobs.alive().filter(filters.match_active())
    values = (
        _count_rows(team.datasets.alive()),
        _count_rows(team.graders.alive()),
        _count_rows(team.tuned_models.alive()),
        _count_rows(team.jobs.alive()),
        _count_rows(active.filter(state=State.RUNNING)),
        _count_rows(active.exclude(state=State.RUNNING)),
        _count_rows(team.jobs.alive().filter(filters.match_attention())),
        _count_rows(nodes.find_online()),
        Exists(audit.find_model_downloads(team)),
        Exists(find_opened(team.pk)),
    )
    return Counts(*Team.objects.filter(pk=team.pk).values_list(*values).get())


def _count_rows(objects: QuerySet[Any]) -> Subquery:
    counted = objects.order_by().annotate(found=Func("pk", function="COUNT", output_field=IntegerField()))
    return Subquery(counted.values("found"))


@dataclass(frozen=True)
class Tile:
    """A number with a link to the objects that it counts."""

    label: str
    value: int
    hint: str
    url: str


def build_tiles(team: Team, found: Counts) -> list[Tile]:
    """Build the tiles of datasets, graders, jobs, models and workers."""
    activity = f"{found.running} running, {found.waiting} waiting" if found.active else "none running"
    tiles = (
        ("Datasets", found.datasets, "", "datasets:list"),
        ("Graders", found.graders, "", "graders:list"),
        ("Jobs", found.jobs, activity, "jobs:list"),
        ("Models", found.models, "", "catalog:list"),
        ("Workers online", found.workers, "", "jobs:workers"),
    )
    return [Tile(label, value, hint, reverse(url, args=[team.slug])) for label, value, hint, url in tiles]


# --- needs attention -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Attention:
    """An item that needs a person. ``command`` is a shell command that helps."""

    key: str
    kind: str
    word: str
    title: str
    text: str
    url: str
    command: str = ""


def find_attention(team: Team, found: Counts) -> list[Attention]:
    """A queue without workers, jobs that failed or paused, and jobs that run with an alarm; at most six."""
    jobs = team.jobs.alive().filter(filters.match_attention()).select_related("team")
    worst = list(jobs.order_by(F("finished_at").desc(nulls_last=True), "state", "-id")[:ATTENTION_SHOWN])
    running = [job for job in worst if job.state == State.RUNNING]
    alarms = Alarm.objects.filter(job__in=running).order_by("job_id", "-step", "id").distinct("job_id")
    newest = {alarm.job_id: alarm for alarm in alarms} if running else {}
    items = [
        _describe_alarm(job, newest[job.pk]) if job.pk in newest else _describe_stopped_job(job)
        for job in worst
    ]
    return [*_find_missing_worker(team, found), *items][:ATTENTION_SHOWN]


def count_more_attention(found: Counts, shown: list[Attention]) -> int:
    """Return the number of jobs that need attention beyond ``shown``."""
    return max(0, found.attention - sum(each.key != NO_WORKER for each in shown))


NO_WORKER = "worker"


def _find_missing_worker(team: Team, found: Counts) -> Iterator[Attention]:
    if found.waiting and not found.workers:
        title = f"{found.waiting} job{'s' * (found.waiting != 1)} in the queue, but no worker is online"
        text = "On a machine with access to the database, broker and storage, run"
        url = reverse("jobs:workers", args=[team.slug])
        yield Attention(NO_WORKER, "error", "no worker", title, text, url, "make worker")


def _describe_alarm(job: Job, alarm: Alarm) -> Attention:
    title, url = f"{job.name}: alarm at step {alarm.step}", job.get_absolute_url()
    return Attention(job.uid, "warning", "alarm", title, alarm.message, f"{url}rollouts/?alarm={alarm.code}")


def _describe_stopped_job(job: Job) -> Attention:
    kind, word = ("warning", "paused") if job.state == State.PAUSED else ("error", "failed")
    reason = f"{job.error.message} {job.error.remedy}".strip() if job.error else ""
    text = reason or "A member paused it."
    return Attention(job.uid, kind, word, f"{job.name} {word}", text, job.get_absolute_url())


# --- running jobs and results ----------------------------------------------------------------------


def list_running(team: Team) -> list[Job]:
    """Return at most ten active jobs: running ones first, then the newest."""
    first = Case(When(state=State.RUNNING, then=0), default=1)
    jobs = team.jobs.alive().filter(filters.match_active()).select_related("base_model", "team")
    return list(jobs.order_by(first, "-id")[:RUNNING_SHOWN])


@dataclass(frozen=True)
class Result:
    """A finished job with its rewards by step and its comparison, if any.

    ``uncalibrated``: a judge without a judge card gave the rewards. ``test_opened``: a test split with its
    rows was opened before the job ended.
    """

    job: Job
    rewards: list[float]
    evaluation: Evaluation | None
    uncalibrated: bool
    test_opened: bool


def list_results(team: Team, found: Counts) -> list[Result]:
    """Return the latest succeeded jobs."""
    jobs = list(
        team.jobs.alive()
        .filter(state=State.SUCCEEDED)
        .select_related("team", "base_model", "tuned_model__team", "grader_version__grader")[:RESULTS_SHOWN]
    )
    rewards, evaluations = metrics.sample_rewards(jobs), _find_evaluations(jobs)
    uncalibrated = calibration.find_uncalibrated(team, [job.grader_version for job in jobs])
    opened = jobs_with_openings(jobs) if found.opened else set()
    return [
        Result(
            job,
            rewards.get(job.pk, []),
            evaluations.get(job.pk),
            uncalibrated=job.grader_version_id in uncalibrated,
            test_opened=job.pk in opened,
        )
        for job in jobs
    ]


def _find_evaluations(jobs: Iterable[Job]) -> dict[int, Evaluation]:
    """Return the comparison after training by job."""
    after = Evaluation.objects.filter(job__in=list(jobs), stage="after", task="").order_by("id")
    return {evaluation.job_id: evaluation for evaluation in after}
