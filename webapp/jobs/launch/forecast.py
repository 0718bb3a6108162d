"""What is known of a job before it is launched: its cost, the advice on its data, what it changes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from django import forms
from django.conf import settings as site

from webapp.graders.models import GraderVersion
from webapp.jobs.launch import placement
from webapp.jobs.models import Job
from webapp.jobs.monitor import preflight, presenters
from webapp.registry import base_files
from webapp.registry.models import BaseModel
from webapp.teams.models import Team
from webapp.work import nodes
from workers import grading
from workers.contract import memory
from workers.contract.methods import METHODS

SAMPLING_METHODS = [method.id for method in METHODS.values() if method.samples]
GIB = 2**30
CHOICES = ("base_model", "start", "dataset_version", "grader_version", "held_out_grader")


@dataclass(frozen=True)
class Advice:
    """What the last preflight on the same rows and grader found."""

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
        """Whether no online worker has a GPU so large: it trains in smaller passes, or not at all."""
        return self.largest_gpu_gib is not None and self.peak > self.largest_gpu_gib * GIB


@dataclass(frozen=True)
class Difference:
    """A field that differs from the cloned job; ``reset`` is the old value as the form sends it."""

    field: str
    label: str
    before: str
    after: str
    reset: str


def of(
    team: Team, form: forms.Form, values: dict[str, Any], settings: dict[str, Any], source: Job | None
) -> dict[str, Any]:
    """Everything beside the form that follows what is filled in."""
    placed, needed = placement.place(settings["resources"], team), peak(values["base_model"], settings)
    time = presenters.outlook(values, settings, placed.able)
    hours, price = _gpu_hours(time["seconds"], settings), site.GPU_HOUR_PRICE
    found = advice(team, values)
    doubts = (placed.refused, needed and needed.is_short, found and found.against, *time["grader_findings"])
    return time | {
        "placing": placed,
        "memory": needed,
        "gpu_hours": hours,
        "gpu_cost": hours * price if hours and price is not None else None,
        "gpu_hour_price": price,
        "judge_cost": judge_cost(team, values["grader_version"], settings, time["steps"]),
        "judged": judged(values["grader_version"]),
        "advice": found,
        "warnings": sum(map(bool, doubts)),
        "changed": changed(form, values, source) if source else [],
    }


def _gpu_hours(seconds: float | None, settings: dict[str, Any]) -> float | None:
    gpus = settings["resources"]["gpus"]
    return seconds * gpus / 3600 if seconds and gpus else None


def peak(base: BaseModel | None, settings: dict[str, Any]) -> Memory | None:
    """By the engine's own count, with prompts and answers as long as they may be; None where not known.

    On a GPU it counts a step sampled at once and trained in the smallest passes of full speed.
    """
    gpus, grpo = settings["resources"]["gpus"], settings["grpo"]
    shape = base_files.read_shape(base, size=2 if gpus else 4) if base else None
    if shape is None:
        return None
    own = max(_answers(grpo) // max(gpus, 1), grpo["group_size"])
    shares = settings["lora"]["dropout"] == 0
    work = memory.Work(
        grpo["max_prompt_length"], grpo["max_completion_length"], own, grpo["group_size"], shares
    )
    tokens = memory.least_tokens(work) if gpus else memory.cpu_tokens(work)
    counted = memory.estimate(shape, settings["lora"]["rank"], work, tokens, checkpointing=False)
    return Memory(counted.total, counted.weights, nodes.largest_gpu() if gpus else None)


def judged(grader: GraderVersion | None) -> bool:
    """Whether a judge answers anywhere in the grader: that costs money."""
    return bool(grader and grading.judge_models(grader.parsed))


def judge_cost(
    team: Team, grader: GraderVersion | None, settings: dict[str, Any], steps: int | None
) -> float | None:
    """Money for judges, by what an answer of the team's last job with this grader cost; None if unknown."""
    if grader is None or not steps or not judged(grader):
        return None
    jobs = Job.objects.filter(team=team, grader_version=grader, method__in=SAMPLING_METHODS, step__gt=0)
    last = jobs.exclude(judge_cost={}).first()
    if last is None:
        return None
    each = sum(last.judge_cost.values()) / (last.step * _answers(last.settings["grpo"]))
    return float(each * steps * _answers(settings["grpo"]))


def _answers(grpo: dict[str, Any]) -> int:
    """Answers in one step."""
    return int(grpo["group_size"]) * int(grpo["prompts_per_step"])


def advice(team: Team, values: dict[str, Any]) -> Advice | None:
    """Of the team's last preflight of this base model on this dataset version with this grader version."""
    names = ("base_model", "dataset_version", "grader_version")
    if not all(values[name] for name in names):
        return None
    same = {name: values[name] for name in names}
    jobs = Job.objects.filter(team=team, start=values["start"], preflight__isnull=False, **same)
    job = jobs.select_related("team").first()
    if job is None or not job.preflight:
        return None
    report = job.preflight
    return Advice(
        job,
        preflight.TITLES[report["verdict"]],
        report["reason"],
        report["remedy"],
        preflight.enough(report),
        report["verdict"] != "go",
    )


# --- what a clone changes --------------------------------------------------------------------------


def _held(source: Job) -> dict[str, Any]:
    """What the cloned job had in each field of the form."""
    held: dict[str, Any] = {name: getattr(source, name) for name in CHOICES}
    for section, settings in source.settings.items():
        if isinstance(settings, dict):
            held |= {f"{section}__{name}": value for name, value in settings.items()}
        else:
            held[section] = settings
    return held


def changed(form: forms.Form, values: dict[str, Any], source: Job) -> list[Difference]:
    """Every field that differs from the cloned job, in the form's order."""
    held = _held(source)
    return [
        Difference(name, str(form[name].label), _said(held[name]), _said(values[name]), as_sent(held[name]))
        for name in form.fields
        if name in held and held[name] != values[name]
    ]


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None or value == "" else str(value)


def as_sent(value: Any) -> str:
    """A value as the form sends it: an object by its uid, a box as on or nothing."""
    if isinstance(value, bool):
        return "on" if value else ""
    if isinstance(value, dict):
        return json.dumps(value)
    return "" if value is None else str(getattr(value, "uid", value))
