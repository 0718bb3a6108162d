"""Forecast of a job before its launch: time, memory, cost, advice, and how it differs from its source."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django import forms
from django.conf import settings as site

from webapp.graders.models import GraderVersion
from webapp.jobs.launch import estimates, placement
from webapp.jobs.launch.estimates import Estimate
from webapp.jobs.launch.grader_findings import find_grader_problems, find_row_problems
from webapp.jobs.launch.job_form import JobForm
from webapp.jobs.launch.request import TaskChoice
from webapp.jobs.launch.steps import count_steps
from webapp.jobs.models import Job
from webapp.jobs.monitor import preflight
from webapp.registry import base_files
from webapp.registry.models import BaseModel
from webapp.teams.models import Team
from webapp.work import nodes
from workers import grading
from workers.contract import memory
from workers.contract.methods import METHODS
from workers.contract.spec import JobSettings

SAMPLING_METHODS = [method.id for method in METHODS.values() if method.samples]
GIB = 2**30
CHOICES = (
    "base_model", "initial_adapter", "dataset_version", "grader_version", "environment_version",
    "held_out_grader",
)  # fmt: skip


@dataclass(frozen=True)
class Advice:
    """The result of the last preflight on the same rows and grader."""

    job: Job
    title: str
    reason: str
    remedy: str
    group_size: str
    against: bool


@dataclass(frozen=True)
class Memory:
    """An estimated peak in bytes, on each GPU or, without any, on the CPU; ``weights`` are a part of it."""

    peak: int
    weights: int
    largest_gpu_gib: float | None

    @property
    def is_short(self) -> bool:
        """True if no GPU online is as large: the job trains in smaller passes, or not at all."""
        return self.largest_gpu_gib is not None and self.peak > self.largest_gpu_gib * GIB


@dataclass(frozen=True)
class Difference:
    """A field that differs from the cloned job; ``reset`` is the old value as the form sends it."""

    field: str
    label: str
    before: str
    after: str
    reset: str


def forecast_job(team: Team, form: JobForm, source: Job | None) -> dict[str, object]:
    """Return everything beside the form that follows from what is filled in."""
    values, settings = form.values, form.draft_settings()
    place, needed = (
        placement.find_placement(settings.resources, team),
        estimate_memory(values["base_model"], settings),
    )
    tasks = form.read_tasks()
    steps = count_steps(settings.grpo, *(task.dataset_version for task in tasks)) if tasks else None
    estimate = _estimate_time(form, tasks, steps, place.able)
    findings = find_grader_problems(values["grader_version"])
    findings += [finding for task in tasks for finding in find_row_problems(task)]
    seconds = estimate.seconds if estimate else None
    hours, price = _gpu_hours(seconds, settings), site.GPU_HOUR_PRICE
    found = find_last_advice(team, values)
    doubts = (place.refused, needed and needed.is_short, found and found.against, *findings)
    return {
        "steps": steps,
        "estimate": estimate,
        "seconds": seconds,
        "grader_findings": findings,
        "placement": place,
        "memory": needed,
        "gpu_hours": hours,
        "gpu_cost": hours * price if hours and price is not None else None,
        "gpu_hour_price": price,
        "judge_cost": estimate_judge_cost(team, values["grader_version"], settings, steps),
        "judged": uses_judge(values["grader_version"]),
        "advice": found,
        "warnings": sum(map(bool, doubts)),
        "changed": find_differences(form, values, source) if source else [],
    }


def _estimate_time(
    form: JobForm, tasks: Sequence[TaskChoice], steps: int | None, nodes: Sequence[str]
) -> Estimate | None:
    """Estimate the job on one of the nodes; None where nothing has been measured or filled in."""
    base = form.values["base_model"]
    if not base or not steps:
        return None
    suites = [estimates.count_suite_rows(each.built_in, each.dataset_version) for each in form.read_suites()]
    rows = [task.dataset_version.files for task in tasks]
    return estimates.estimate(estimates.Plan(base, form.draft_settings(), rows, suites, steps), nodes)


def _gpu_hours(seconds: float | None, settings: JobSettings) -> float | None:
    gpus = settings.resources.gpus
    return seconds * gpus / 3600 if seconds and gpus else None


def estimate_memory(base: BaseModel | None, settings: JobSettings) -> Memory | None:
    """Estimate the peak as the engine does, with prompts and completions at their full length.

    On a GPU a step is sampled at once and trained in the smallest passes of full speed. None where the base
    model's shape is not known.
    """
    gpus, grpo = settings.resources.gpus, settings.grpo
    shape = base_files.read_shape(base, size=2 if gpus else 4) if base else None
    if shape is None:
        return None
    own = max(settings.grpo.rollouts_per_step // max(gpus, 1), grpo.group_size)
    shares = settings.lora.dropout == 0
    work = memory.Work(grpo.max_prompt_length, grpo.max_completion_length, own, grpo.group_size, shares)
    tokens = memory.least_tokens(work) if gpus else memory.cpu_tokens(work)
    counted = memory.estimate(shape, settings.lora.rank, work, tokens, checkpointing=False)
    return Memory(counted.total, counted.weights, nodes.find_largest_gpu() if gpus else None)


def uses_judge(grader: GraderVersion | None) -> bool:
    """True if a judge grades anywhere in the grader, which costs money."""
    return bool(grader and grading.judge_models(grader.parsed))


def estimate_judge_cost(
    team: Team, grader: GraderVersion | None, settings: JobSettings, steps: int | None
) -> float | None:
    """Estimate the cost of judges from the team's last job with this grader; None without one."""
    if grader is None or not steps or not uses_judge(grader):
        return None
    jobs = Job.objects.filter(team=team, grader_version=grader, method__in=SAMPLING_METHODS, step__gt=0)
    last = jobs.exclude(judge_cost={}).first()
    if last is None:
        return None
    each = sum(last.judge_cost.values()) / (last.step * last.settings.grpo.rollouts_per_step)
    return float(each * steps * settings.grpo.rollouts_per_step)


def find_last_advice(team: Team, values: dict[str, Any]) -> Advice | None:
    """Return what the team's last preflight with the same model, rows and grader advised."""
    names = ("base_model", "dataset_version", "grader_version")
    if not all(values[name] for name in names):
        return None
    same = {name: values[name] for name in names}
    jobs = Job.objects.filter(
        team=team, initial_adapter=values["initial_adapter"], preflight__isnull=False, **same
    )
    job = jobs.select_related("team").first()
    if job is None or not job.preflight:
        return None
    report = job.preflight
    return Advice(
        job,
        preflight.TITLES[report.verdict],
        report.reason,
        report.remedy,
        preflight.find_sufficient_size(report),
        report.verdict != "go",
    )


# --- what a clone changes --------------------------------------------------------------------------


def _read_source(source: Job) -> dict[str, Any]:
    """Return what the cloned job had in each field of the form."""
    held: dict[str, Any] = {name: getattr(source, name) for name in CHOICES}
    for section, settings in source.settings.model_dump(mode="json").items():
        if isinstance(settings, dict):
            held |= {f"{section}__{name}": value for name, value in settings.items()}
        else:
            held[section] = settings
    return held


def find_differences(form: forms.Form, values: dict[str, Any], source: Job) -> list[Difference]:
    """Return every field that differs from the cloned job, in the form's order."""
    held = _read_source(source)
    return [
        Difference(
            name,
            str(form[name].label),
            _format_value(held[name]),
            _format_value(values[name]),
            format_as_sent(held[name]),
        )
        for name in form.fields
        if name in held and held[name] != values[name]
    ]


def _format_value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None or value == "" else str(value)


def format_as_sent(value: Any) -> str:
    """Format a value as the form sends it: an object by its uid, a box as on or nothing."""
    if isinstance(value, bool):
        return "on" if value else ""
    if isinstance(value, dict):
        return json.dumps(value)
    return "" if value is None else str(getattr(value, "uid", value))
