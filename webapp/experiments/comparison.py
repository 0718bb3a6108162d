"""Comparison of jobs: results on the same held-out rows, and settings that differ."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.http import urlencode
from django.views.decorators.http import require_GET

from webapp.core.http import HtmxRequest
from webapp.experiments.control_run_results import Difference, measure_difference
from webapp.jobs.listing import selection
from webapp.jobs.models import ComparedRow, Evaluation, Job, JobSuite
from webapp.jobs.monitor import charts
from webapp.jobs.monitor.presenters import flatten
from webapp.teams.access import Access, member
from workers.contract.methods import METHODS

OTHER_DATA = "other dataset version"
OTHER_GRADER = "other grader version"


@dataclass(frozen=True)
class ComparedJob:
    """A job with its final evaluation, and its tuned model minus the baseline's.

    Without such a difference ``no_difference`` gives the reason.
    """

    job: Job
    evaluation: Evaluation | None
    difference: Difference | None
    no_difference: str

    @property
    def can_be_baseline(self) -> bool:
        """False for a placebo, whose rewards are random."""
        return METHODS[self.job.method].can_be_baseline


@dataclass(frozen=True)
class Setting:
    """A setting in which the jobs differ, with each job's value."""

    name: str
    values: list[object]


def compare_jobs(jobs: Sequence[Job], baseline: Job) -> list[ComparedJob]:
    """Return the jobs with their results after training."""
    after = Evaluation.objects.filter(job__in=jobs, stage="after", task="", tuned__isnull=False)
    evaluations = {each.job_id: each for each in after.order_by("pk")}
    rewards = _read_rewards(list(evaluations.values()))
    return [_compare_job(job, baseline, evaluations.get(job.pk), rewards) for job in jobs]


def _compare_job(
    job: Job, baseline: Job, evaluation: Evaluation | None, rewards: dict[int, dict[str, float]]
) -> ComparedJob:
    if job == baseline:
        return ComparedJob(job, evaluation, None, "–")
    if job.dataset_version_id != baseline.dataset_version_id:
        return ComparedJob(job, evaluation, None, OTHER_DATA)
    if job.grader_version_id != baseline.grader_version_id:
        return ComparedJob(job, evaluation, None, OTHER_GRADER)
    difference = measure_difference(rewards.get(job.pk, {}), rewards.get(baseline.pk, {}))
    return ComparedJob(job, evaluation, difference, "" if difference else "not measured")


def _read_rewards(evaluations: list[Evaluation]) -> dict[int, dict[str, float]]:
    """Job -> row -> mean reward of the tuned model."""
    rewards: dict[int, dict[str, float]] = defaultdict(dict)
    rows = ComparedRow.objects.filter(evaluation__in=evaluations)
    for job, row, reward in rows.values_list("evaluation__job_id", "row_id", "tuned_reward"):
        if reward is not None:
            rewards[job][row] = reward
    return rewards


def find_differing_settings(jobs: Sequence[Job]) -> list[Setting]:
    """Return what differs: method, model, data, grader, suites, then settings of the spec."""
    settings = [_describe_choices(job) | flatten(job.settings) for job in jobs]
    names = dict.fromkeys(name for each in settings for name in each)
    rows = [Setting(name, [each.get(name) for each in settings]) for name in names]
    return [row for row in rows if any(value != row.values[0] for value in row.values)]


def _describe_choices(job: Job) -> dict[str, object]:
    """Choices of the job outside its settings, by name; what it does without is left out."""
    tasks = [f"{task.name}: {task.dataset_version}, {task.grader_version}" for task in job.loaded_tasks]
    choices = {
        "method": METHODS[job.method].label,
        "base model": job.base_model,
        "initial adapter": job.initial_adapter,
        "dataset": job.dataset_version,
        "grader": job.grader_version,
        "environment": job.environment_version,
        "held-out grader": job.held_out_grader,
        "tasks": "; ".join(tasks),
        "suites": "; ".join(map(_describe_suite, job.suites.all())),
    }
    sft = job.sft.model_dump() if job.sft else {}
    present: dict[str, object] = {name: str(value) for name, value in choices.items() if value}
    return present | {f"sft.{name}": value for name, value in sft.items()}


def _describe_suite(suite: JobSuite) -> str:
    rows = "" if suite.built_in else f" ({suite.dataset_version}, {suite.grader_version})"
    margin = "" if suite.max_loss is None else f", may lose {suite.max_loss:g}"
    return f"{suite.name}{rows}{margin}"


def choose_baseline(jobs: Sequence[Job], uid: str = "") -> Job:
    """Return the job with this uid, the team's baseline or the first; a placebo only if all are."""
    able = [job for job in jobs if METHODS[job.method].can_be_baseline] or list(jobs)
    wanted = next((job for job in able if job.uid == uid), None)
    return wanted or selection.find_baseline(able) or able[0]


@member()
@require_GET
def page(request: HtmxRequest, access: Access) -> HttpResponse:
    """``?job=UID&job=UID&base=UID``: up to eight jobs; ``job=pinned`` means the pinned ones.

    Without ``base`` the others are compared with the team's baseline, if it is among them, or the first.
    """
    if added := request.GET.getlist("with"):  # the baseline's checkbox below the list of jobs
        return redirect(
            f"{request.path}?{urlencode({'job': [*request.GET.getlist('job'), *added]}, doseq=True)}"
        )
    if query := selection.expand_pinned(access.team, request.GET, "job"):
        return redirect(f"{request.path}?{query}")
    jobs = selection.select_jobs(access.team, request.GET, "job")
    context: dict[str, object] = {
        "jobs": jobs,
        "field": "job",
        "left_out": selection.count_left_out(request.GET, "job"),
    } | selection.build_chooser_context(access.team, jobs, request.GET)
    if request.htmx.target == "chooser":
        return render(request, "jobs/chooser.html", context)
    if jobs:
        baseline = choose_baseline(jobs, request.GET.get("base", ""))
        context |= charts.build_charts_context(jobs, baseline) | {
            "baseline": baseline,
            "compared": compare_jobs(jobs, baseline),
            "settings": find_differing_settings(jobs),
            "changing": any(job.live for job in jobs),
        }
    return render(request, "jobs/compare.html", context)
