"""What made a job, written down as JSON and as YAML."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import yaml

from webapp.experiments import control_runs
from webapp.jobs.launch import job_tasks
from webapp.jobs.models import Job
from webapp.jobs.monitor import presenters
from webapp.retention import presenters as suites

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
        **presenters.in_order(job.settings),
    }


def _others(job: Job) -> dict[str, Any]:
    """Tasks, suites and arm, where the job has them."""
    return job_tasks.shown(job) | suites.shown(job) | control_runs.shown(job) | _promoted(job)


def _promoted(job: Job) -> dict[str, Any]:
    """The checkpoint that the job makes a model of; empty for a job that trains."""
    if job.promoted_step is None:
        return {}
    source = job.promoted_from.uid if job.promoted_from else None
    return {"promoted_from": {"job": source, "step": job.promoted_step}}
