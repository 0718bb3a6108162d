"""What made a job, written down as JSON and as YAML."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import yaml

from webapp.jobs.models import Job
from webapp.jobs.monitor import presenters

WIDTH = 90


@dataclass(frozen=True)
class Writing:
    """One way to write a job down; ``key`` stands in the address."""

    key: str
    title: str
    text: str


def writings(job: Job) -> list[Writing]:
    """Every way to write the job down."""
    shown = summary(job)
    return [
        Writing("json", "JSON", json.dumps(shown, indent=2, ensure_ascii=False)),
        Writing("yaml", "YAML", yaml.safe_dump(shown, sort_keys=False, allow_unicode=True, width=WIDTH)),
    ]


def summary(job: Job) -> dict[str, Any]:
    """Everything that made the job, by names and hashes."""
    return {
        "base_model": job.base_model.model_id,
        "dataset": {"version": str(job.dataset_version), "sha256": job.dataset_version.sha256},
        "grader": {"version": str(job.grader_version), "sha256": job.grader_version.sha256},
        **presenters.held_out(job),
        **_others(job),
        **job.settings.model_dump(mode="json"),
    }


def _others(job: Job) -> dict[str, Any]:
    """Tasks, suites and method, where the job has them."""
    return _tasks(job) | _suites(job) | _control_run(job) | _promoted(job)


def _tasks(job: Job) -> dict[str, Any]:
    """Several tasks and the adapter that training continues from; empty where the job has neither."""
    tasks = {
        task.name: {
            "dataset": {"version": str(task.dataset_version), "sha256": task.dataset_version.sha256},
            "grader": {"version": str(task.grader_version), "sha256": task.grader_version.sha256},
            "weight": task.weight,
        }
        for task in job.loaded_tasks
    }
    return ({"tasks": tasks} if tasks else {}) | (
        {"start": job.initial_adapter.name} if job.initial_adapter else {}
    )


def _suites(job: Job) -> dict[str, Any]:
    """The suites that the job is scored on; empty without suites."""
    suites = job.suites.select_related("dataset_version__dataset", "grader_version__grader")
    listed = [
        {"name": suite.name, "built_in": suite.built_in, "max_loss": suite.max_loss}
        if suite.built_in
        else {
            "name": suite.name,
            "rows": str(suite.dataset_version),
            "grader": str(suite.grader_version),
            "max_loss": suite.max_loss,
        }
        for suite in suites
    ]
    return {"suites": listed} if listed else {}


def _control_run(job: Job) -> dict[str, Any]:
    """How a control run trains, and for which job; empty for any other job."""
    if job.control_of is None:
        return {}
    return {
        "method": job.method,
        "control_of": job.control_of.name,
        **({"sft": job.sft.model_dump()} if job.sft else {}),
    }


def _promoted(job: Job) -> dict[str, Any]:
    """The checkpoint that the job makes a model of; empty for a job that trains."""
    if job.promoted_step is None:
        return {}
    source = job.promoted_from.uid if job.promoted_from else None
    return {"promoted_from": {"job": source, "step": job.promoted_step}}
