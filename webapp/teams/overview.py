"""What a team's home shows: what runs, what came out, and what to do next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

from django.db.models import Q, QuerySet
from django.urls import reverse
from django.utils import timezone

from webapp.evaluations.models import Evaluation
from webapp.jobs import metrics, nodes
from webapp.jobs.models import Alarm, Job
from webapp.jobs.states import TERMINAL, State
from webapp.judges import services as judges

from .models import AuditEvent, Team

RESULTS_SHOWN = 5
ATTENTION_SHOWN = 6
FAILED_SINCE = timedelta(days=7)


@dataclass(frozen=True)
class Step:
    """One of the first steps. ``done`` once the team has such an object."""

    title: str
    text: str
    url: str
    done: bool


@dataclass(frozen=True)
class Result:
    """A finished job with its reward over the steps and its last comparison, where there are such.

    ``uncalibrated`` says that a judge gave the rewards and no card says how far to trust it.
    """

    job: Job
    rewards: list[float]
    evaluation: Evaluation | None
    uncalibrated: bool


def first_steps(team: Team) -> list[Step]:
    """Dataset, grader, job, model, in the order in which they are needed."""
    texts = (
        ("datasets:list", "Add a dataset", "Prompts, with whatever a grader needs to judge an answer.",
         team.datasets.filter(deleted_at=None).exists()),
        ("graders:list", "Write a grader", "It gives every answer a reward between 0 and 1.",
         team.graders.filter(deleted_at=None).exists()),
        ("jobs:new", "Launch a job", "The model practises, and the rewards of its answers rise.",
         team.jobs.exists()),
        ("registry:list", "Download the model", "Compare base and tuned, then take the adapter with you.",
         team.tuned_models.exists()),
    )  # fmt: skip
    return [Step(title, text, reverse(url, args=[team.slug]), done) for url, title, text, done in texts]


@dataclass(frozen=True)
class Attention:
    """Something that waits for a person: what, why, and where to go."""

    kind: str
    title: str
    text: str
    url: str


def attention(team: Team) -> list[Attention]:
    """Jobs that paused or failed, alarms of jobs that run, and a queue without workers; the worst first."""
    now = timezone.now()
    stopped = team.jobs.select_related("team").filter(
        Q(state=State.PAUSED) | Q(state=State.FAILED, finished_at__gt=now - FAILED_SINCE)
    )
    alarms = Alarm.objects.filter(job__team=team, job__state=State.RUNNING).select_related("job__team")
    found = [*_no_worker(team)]
    found += [_stopped(job) for job in stopped[:ATTENTION_SHOWN]]
    found += [
        Attention("warning", f"{alarm.job.name}: alarm at step {alarm.step}", alarm.message,
                  f"{alarm.job.get_absolute_url()}rollouts/?alarm={alarm.code}")
        for alarm in alarms[:ATTENTION_SHOWN]
    ]  # fmt: skip
    return found[:ATTENTION_SHOWN]


def _no_worker(team: Team) -> Iterator[Attention]:
    waiting = team.jobs.filter(state=State.QUEUED).count()
    if waiting and not nodes.online().exists():
        title = f"{waiting} job{'s' * (waiting != 1)} in the queue, and no worker is online"
        text = "Start one with `make worker` on a machine that reaches the database, broker and storage."
        yield Attention("error", title, text, reverse("jobs:workers", args=[team.slug]))


def _stopped(job: Job) -> Attention:
    kind, did = ("warning", "paused") if job.state == State.PAUSED else ("error", "failed")
    error = job.error or {}
    text = " ".join(filter(None, [error.get("message"), error.get("remedy")])) or "Somebody paused it."
    return Attention(kind, f"{job.name} {did}", text, job.get_absolute_url())


def running(team: Team) -> list[Job]:
    """Jobs that are not at their end, the newest first."""
    return list(team.jobs.exclude(state__in=TERMINAL).select_related("base_model", "team"))


def results(team: Team) -> list[Result]:
    """The latest jobs that succeeded."""
    jobs = list(
        team.jobs.filter(state=State.SUCCEEDED).select_related(
            "team", "base_model", "tuned_model__team", "grader_version"
        )[:RESULTS_SHOWN]
    )
    rewards, evaluations = metrics.rewards(jobs), _evaluations(jobs)
    unsure = judges.uncalibrated(team, [job.grader_version for job in jobs])
    return [
        Result(job, rewards.get(job.pk, []), evaluations.get(job.pk), job.grader_version_id in unsure)
        for job in jobs
    ]


def _evaluations(jobs: Iterable[Job]) -> dict[int, Evaluation]:
    """Job -> its comparison after training."""
    after = Evaluation.objects.filter(job__in=list(jobs), stage="after", task="").order_by("id")
    return {evaluation.job_id: evaluation for evaluation in after}


def audit_events(team: Team, query: Mapping[str, str]) -> QuerySet[AuditEvent]:
    """The team's record, the latest first, of one person (``who``) or with some words (``text``)."""
    events = team.audit_events.select_related("user")
    if who := query.get("who"):
        events = events.filter(user__email=who)
    if text := query.get("text", "").replace("\x00", ""):
        events = events.filter(Q(verb__icontains=text) | Q(target__icontains=text))
    return events


def audit_rows(events: QuerySet[AuditEvent]) -> Iterator[tuple[object, ...]]:
    """The record for a file: a header, then an event a row."""
    yield ("when", "who", "did", "to")
    for event in events.iterator():
        yield (event.created_at.isoformat(), event.user or "", event.verb, event.target)
