"""Launching jobs that train several tasks into one adapter, or go on from an adapter."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from webapp.datasets.models import DatasetVersion
from webapp.graders.definitions import required_fields
from webapp.graders.models import GraderVersion
from webapp.jobs.models import Job, JobTask
from webapp.jobs.services import SettingsInvalid, create_job, grader_conditions, total_steps
from webapp.registry.models import BaseModel, TunedModel
from webapp.registry.uploads import read_lora_shape
from webapp.teams.models import Team, User

MAX_TASKS = 8
MAX_WEIGHT = 100
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.-]{0,29}", re.ASCII)


@dataclass(frozen=True)
class TaskChoice:
    """A task as it was chosen. ``weight`` is its relative share of a step's prompts."""

    name: str
    dataset_version: DatasetVersion
    grader_version: GraderVersion
    weight: float = 1.0


@transaction.atomic
def launch_job(
    team: Team,
    user: User | None,
    *,
    name: str,
    base_model: BaseModel,
    tasks: Sequence[TaskChoice],
    settings: dict[str, Any],
    start: TunedModel | None = None,
    interference_of: Job | None = None,
    **others: Any,
) -> Job:
    """``create_job`` with tasks and a start. One unnamed task makes a job without tasks.

    A continued adapter keeps its shape: rank, alpha and targets of the settings become its own. Raises
    ``SettingsInvalid``.
    """
    first = tasks[0]
    several = [] if len(tasks) == 1 and not first.name else tasks
    if errors := _problems(several) | _start_problems(base_model, start):
        raise SettingsInvalid(errors)
    if start:
        settings = settings | {"lora": settings.get("lora", {}) | read_lora_shape(start)}
    job = create_job(
        team,
        user,
        name=name,
        base_model=base_model,
        dataset_version=first.dataset_version,
        grader_version=first.grader_version,
        settings=settings,
        **others,
    )
    JobTask.objects.bulk_create(
        JobTask(
            job=job,
            position=position,
            name=task.name,
            dataset_version=task.dataset_version,
            grader_version=task.grader_version,
            weight=task.weight,
        )
        for position, task in enumerate(several)
    )
    job.start, job.interference_of = start, interference_of
    job.total_steps = total_steps(job.settings["grpo"], *(task.dataset_version for task in tasks))
    job.save(update_fields=["start", "interference_of", "total_steps"])
    return job


def choices_of(job: Job) -> list[TaskChoice]:
    """The job's tasks as choices; one without a name for a job without tasks."""
    tasks = job.loaded_tasks
    chosen = [TaskChoice(t.name, t.dataset_version, t.grader_version, t.weight) for t in tasks]
    return chosen or [TaskChoice("", job.dataset_version, job.grader_version)]


def _problems(tasks: Sequence[TaskChoice]) -> dict[str, str]:
    """Place -> what is wrong. The place of task N's name is ``task_N.name``."""
    problems: dict[str, str] = {}
    if len(tasks) > MAX_TASKS:
        problems["tasks"] = f"A job has at most {MAX_TASKS} tasks."
    names = [task.name.casefold() for task in tasks]
    for number, task in enumerate(tasks, start=1):
        place = f"task_{number}"
        if not NAME.fullmatch(task.name):
            problems[f"{place}.name"] = "1 to 30 letters, digits, spaces and . _ - beginning with a letter."
        elif names.index(task.name.casefold()) != number - 1:
            problems[f"{place}.name"] = "Another task has this name: curves are told apart by it."
        if not 0 < task.weight <= MAX_WEIGHT:
            problems[f"{place}.weight"] = f"Above 0, at most {MAX_WEIGHT}."
        if number > 1 and (unmet := grader_conditions(task.grader_version)):
            problems[f"{place}.grader_version"] = " ".join(unmet)
        elif number > 1 and (
            reason := required_fields.find_refusal(task.grader_version, task.dataset_version)
        ):
            problems[f"{place}.grader_version"] = reason
    return problems


def _start_problems(base_model: BaseModel, start: TunedModel | None) -> dict[str, str]:
    if start is None:
        return {}
    kept = TunedModel.objects.select_for_update().filter(pk=start.pk, deleted_at=None)
    if not kept.first():  # held until the job is saved: a deletion sees the job, or the job the deletion
        return {"start": f"{start} was deleted. Restore it under Models, Deleted, or choose another."}
    if start.base_model_id == base_model.pk:
        return {}
    return {
        "start": f"This adapter belongs to {start.base_model}. Choose that base model, or another adapter."
    }


def shown(job: Job) -> dict[str, Any]:
    """Tasks and start as the settings page shows them; empty where a job has neither."""
    tasks = {
        task.name: {
            "dataset": {"version": str(task.dataset_version), "sha256": task.dataset_version.sha256},
            "grader": {"version": str(task.grader_version), "sha256": task.grader_version.sha256},
            "weight": task.weight,
        }
        for task in choices_of(job)
        if task.name
    }
    return ({"tasks": tasks} if tasks else {}) | ({"start": job.start.name} if job.start else {})


def shares(job: Job) -> list[tuple[JobTask, float]]:
    """Each of several tasks with its prompts a step, on average."""
    tasks = list(job.tasks.select_related("dataset_version__dataset__team", "grader_version__grader__team"))
    if not tasks:
        return []
    total, each = sum(task.weight for task in tasks), job.settings["grpo"]["prompts_per_step"]
    return [(task, each * task.weight / total) for task in tasks]
