"""A job's complete configuration as JSON, as YAML, and as code that launches it again."""

from __future__ import annotations

import json
from dataclasses import dataclass

import yaml

from webapp.datasets.models import DatasetVersion
from webapp.environments.models import EnvironmentVersion
from webapp.graders.models import GraderVersion
from webapp.jobs.api import code
from webapp.jobs.models import Job, JobTask
from workers.contract.json_types import JsonObject, JsonValue

WIDTH = 90


@dataclass(frozen=True)
class ConfigExport:
    """The configuration in one format; ``key`` is part of the section's id."""

    key: str
    title: str
    text: str


def export_config(job: Job, base_url: str) -> list[ConfigExport]:
    """Return the job's configuration in every format, and code that launches it by the API."""
    config, request = describe_job(job), code.build_request(job)
    calls = [
        ConfigExport("sdk", "SDK call", code.write_sdk_call(request, base_url)),
        ConfigExport("curl", "curl", code.write_curl(request, base_url)),
    ] if request else []  # fmt: skip
    return [
        ConfigExport("json", "JSON", json.dumps(config, indent=2, ensure_ascii=False)),
        ConfigExport(
            "yaml", "YAML", yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=WIDTH)
        ),
        *calls,
    ]


def describe_job(job: Job) -> JsonObject:
    """Everything that determines the job, by names and hashes. Absent parts have no key."""
    config: JsonObject = {
        "base_model": job.base_model.model_id,
        "grader": _pin(job.grader_version),
    }
    if job.dataset_version:
        config["dataset"] = _pin(job.dataset_version)
    if job.environment_version:
        config["environment"] = _pin(job.environment_version)
    if job.held_out_grader:
        config["held_out_grader"] = _pin(job.held_out_grader)
    if job.loaded_tasks:
        config["tasks"] = {task.name: _describe_task(task) for task in job.loaded_tasks}
    if job.initial_adapter:
        config["start"] = job.initial_adapter.name
    if suites := _describe_suites(job):
        config["suites"] = suites
    if job.control_of:
        config |= {"method": job.method, "control_of": job.control_of.name}
        if job.sft:
            config["sft"] = job.sft.model_dump()
    if job.promoted_step is not None:
        source = job.promoted_from.uid if job.promoted_from else None
        config["promoted_from"] = {"job": source, "step": job.promoted_step}
    return config | job.settings.model_dump(mode="json")


def _pin(version: DatasetVersion | GraderVersion | EnvironmentVersion) -> JsonObject:
    return {"version": str(version), "sha256": version.sha256}


def _describe_task(task: JobTask) -> JsonObject:
    environment = task.environment_version
    return {
        "dataset": _pin(task.dataset_version),
        "grader": _pin(task.grader_version),
        **({"environment": _pin(environment)} if environment else {}),
        "weight": task.weight,
    }


def _describe_suites(job: Job) -> list[JsonValue]:
    suites = job.suites.select_related("dataset_version__dataset", "grader_version__grader")
    return [
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
