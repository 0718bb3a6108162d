"""Jobs beside each other: their results on the same held-out rows, and the settings in which they differ."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.http import urlencode
from django.views.decorators.http import require_GET

from webapp.core.http import HtmxRequest
from webapp.experiments.control_run_results import Difference, difference
from webapp.jobs.listing import selection
from webapp.jobs.models import ComparedRow, Evaluation, Job, JobSuite
from webapp.jobs.monitor import charts
from webapp.jobs.monitor.presenters import flatten
from webapp.teams.access import Access, member
from workers.contract.methods import METHODS

OTHER_DATA = "other dataset version"
OTHER_GRADER = "other grader version"


@dataclass(frozen=True)
class Line:
    """One job. ``ahead`` is its tuned model minus the baseline's, by row; else ``why_not`` says why."""

    job: Job
    evaluation: Evaluation | None
    ahead: Difference | None
    why_not: str

    @property
    def can_be_baseline(self) -> bool:
        """Whether others may be compared with it: rewards of a placebo were random."""
        return METHODS[self.job.method].can_be_baseline


@dataclass(frozen=True)
class Setting:
    """A setting in which the jobs differ, with each job's value."""

    name: str
    values: list[Any]


def lines(jobs: Sequence[Job], baseline: Job) -> list[Line]:
    """The jobs with their results after training."""
    after = Evaluation.objects.filter(job__in=jobs, stage="after", task="", tuned__isnull=False)
    evaluations = {each.job_id: each for each in after.order_by("pk")}
    rewards = _rewards(list(evaluations.values()))
    return [_line(job, baseline, evaluations.get(job.pk), rewards) for job in jobs]


def _line(
    job: Job, baseline: Job, evaluation: Evaluation | None, rewards: dict[int, dict[str, float]]
) -> Line:
    if job == baseline:
        return Line(job, evaluation, None, "–")
    if job.dataset_version_id != baseline.dataset_version_id:
        return Line(job, evaluation, None, OTHER_DATA)
    if job.grader_version_id != baseline.grader_version_id:
        return Line(job, evaluation, None, OTHER_GRADER)
    ahead = difference(rewards.get(job.pk, {}), rewards.get(baseline.pk, {}))
    return Line(job, evaluation, ahead, "" if ahead else "not measured")


def _rewards(evaluations: list[Evaluation]) -> dict[int, dict[str, float]]:
    """Job -> row -> mean reward of the tuned model."""
    rewards: dict[int, dict[str, float]] = defaultdict(dict)
    rows = ComparedRow.objects.filter(evaluation__in=evaluations)
    for job, row, reward in rows.values_list("evaluation__job_id", "row_id", "tuned_reward"):
        if reward is not None:
            rewards[job][row] = reward
    return rewards


def settings(jobs: Sequence[Job]) -> list[Setting]:
    """What is not the same in all jobs: method, model, data, grader, suites, then settings by the spec."""
    told = [_choices(job) | flatten(job.settings) for job in jobs]
    names = dict.fromkeys(name for each in told for name in each)
    rows = [Setting(name, [each.get(name) for each in told]) for name in names]
    return [row for row in rows if any(value != row.values[0] for value in row.values)]


def _choices(job: Job) -> dict[str, Any]:
    """What was chosen for the job beside its settings; what it does without is left out."""
    tasks = [f"{task.name}: {task.dataset_version}, {task.grader_version}" for task in job.loaded_tasks]
    chosen = {
        "method": METHODS[job.method].label,
        "base model": job.base_model,
        "initial adapter": job.initial_adapter,
        "dataset": job.dataset_version,
        "grader": job.grader_version,
        "held-out grader": job.held_out_grader,
        "tasks": "; ".join(tasks),
        "suites": "; ".join(map(_suite, job.suites.all())),
    }
    sft = job.sft.model_dump() if job.sft else {}
    present = {name: str(value) for name, value in chosen.items() if value}
    return present | {f"sft.{name}": value for name, value in sft.items()}


def _suite(suite: JobSuite) -> str:
    rows = "" if suite.built_in else f" ({suite.dataset_version}, {suite.grader_version})"
    margin = "" if suite.max_loss is None else f", may lose {suite.max_loss:g}"
    return f"{suite.name}{rows}{margin}"


def default_baseline(jobs: Sequence[Job], asked: str = "") -> Job:
    """The job asked for, the team's baseline or the first; a placebo only if there is nothing else."""
    able = [job for job in jobs if METHODS[job.method].can_be_baseline] or list(jobs)
    wanted = next((job for job in able if job.uid == asked), None)
    return wanted or selection.baseline(able) or able[0]


@member()
@require_GET
def page(request: HtmxRequest, access: Access) -> HttpResponse:
    """``?job=UID&job=UID&base=UID``: up to eight jobs; ``job=pinned`` stands for the pinned ones.

    Without ``base`` the others are compared with the team's baseline, if it is among them, or the first.
    """
    if added := request.GET.getlist("with"):  # the list's box for the baseline
        return redirect(
            f"{request.path}?{urlencode({'job': [*request.GET.getlist('job'), *added]}, doseq=True)}"
        )
    if query := selection.spelt_out(access.team, request.GET, "job"):
        return redirect(f"{request.path}?{query}")
    jobs = selection.chosen(access.team, request.GET, "job")
    context: dict[str, Any] = {
        "jobs": jobs,
        "field": "job",
        "left_out": selection.left_out(request.GET, "job"),
    } | selection.offered(access.team, jobs, request.GET)
    if request.htmx.target == "chooser":
        return render(request, "jobs/chooser.html", context)
    if jobs:
        baseline = default_baseline(jobs, request.GET.get("base", ""))
        context |= charts.drawn(jobs, baseline) | {
            "baseline": baseline,
            "lines": lines(jobs, baseline),
            "settings": settings(jobs),
            "changing": any(job.live for job in jobs),
        }
    return render(request, "jobs/compare.html", context)
