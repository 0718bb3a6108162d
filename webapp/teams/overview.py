"""What a team's home shows: what runs, what came out, and what to do next."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.urls import reverse

from webapp.evaluations.models import Evaluation
from webapp.jobs.models import Job, Metric
from webapp.jobs.states import TERMINAL, State
from webapp.judges import services as judges

from .models import Team

RESULTS_SHOWN = 5
SPARKLINE_POINTS = 80


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


def running(team: Team) -> list[Job]:
    """Jobs that are not at their end, the newest first."""
    return list(team.jobs.exclude(state__in=TERMINAL).select_related("base_model"))


def results(team: Team) -> list[Result]:
    """The latest jobs that succeeded."""
    jobs = list(
        team.jobs.filter(state=State.SUCCEEDED).select_related("base_model", "tuned_model", "grader_version")[
            :RESULTS_SHOWN
        ]
    )
    rewards, evaluations = _rewards(jobs), _evaluations(jobs)
    unsure = judges.uncalibrated(team, [job.grader_version for job in jobs])
    return [
        Result(job, rewards.get(job.pk, []), evaluations.get(job.pk), job.grader_version_id in unsure)
        for job in jobs
    ]


def _rewards(jobs: Iterable[Job]) -> dict[int, list[float]]:
    """Job -> its mean reward at each step, thinned to what a sparkline can show."""
    found: dict[int, list[float]] = {}
    metrics = Metric.objects.filter(job__in=list(jobs)).order_by("job", "step")
    for job, reward in metrics.values_list("job_id", "values__reward"):
        if reward is not None:
            found.setdefault(job, []).append(reward)
    return {job: rewards[:: len(rewards) // SPARKLINE_POINTS + 1] for job, rewards in found.items()}


def _evaluations(jobs: Iterable[Job]) -> dict[int, Evaluation]:
    """Job -> its comparison after training."""
    after = Evaluation.objects.filter(job__in=list(jobs), stage="after", task="").order_by("id")
    return {evaluation.job_id: evaluation for evaluation in after}
