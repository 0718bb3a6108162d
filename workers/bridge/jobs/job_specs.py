"""The engine's spec of one attempt, built from the job's row."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from webapp.environments.servers.services import read_secrets
from webapp.jobs.models import Job
from workers.bridge.jobs import files, suites, task_files
from workers.contract.json_types import JsonObject
from workers.contract.spec import AdapterRef, DatasetFiles, JobSpec, JudgeEndpoint, SftSettings, Suite


def list_definitions(job: Job) -> list[JsonObject]:
    """Return the definition of every grader of the job."""
    graded = [*job.graded_parts, *suites.list_suites(job)]
    versions = [*(part.grader_version for part in graded), job.held_out_grader]
    return [version.definition for version in versions if version is not None]


def pass_secrets(job: Job) -> dict[str, bytes]:
    """Return the secrets of the job's environments as ``child.start_child`` takes them."""
    versions = [job.environment_version, *(part.environment_version for part in job.graded_parts)]
    secrets = read_secrets([version for version in versions if version is not None])
    return {"--secrets-fd": json.dumps(secrets).encode()} if secrets else {}


def build_job_spec(
    job: Job,
    dataset: DatasetFiles,
    judges: Mapping[str, JudgeEndpoint],
    initial_adapter: AdapterRef | None = None,
    suites: Sequence[Suite] = (),
    sft: SftSettings | None = None,
) -> JobSpec:
    """Return the spec of one attempt, whose files the arguments describe."""
    grader, held_out = job.grader_version, job.held_out_grader
    alarm = job.settings.alarm.model_dump()
    preflight = job.settings.preflight
    if job.preflight:  # it has run in an earlier attempt
        preflight = preflight.model_copy(update={"rows": 0})
    return JobSpec.model_validate(
        {
            "job_id": job.uid,
            "model_name": job.name,
            "base_model": files.local_ref(job.base_model),
            "dataset": dataset,
            "grader": grader.parsed,
            "judges": judges,
            "grader_sha256": grader.sha256,
            "environment": job.environment_version.definition if job.environment_version else None,
            "tasks": task_files.build_task_specs(job),
            "method": job.method,
            "initial_adapter": initial_adapter,
            "sft": sft,
            "promoted_from": _promoted_from(job),
            "suites": suites,
            "labels": {"team": job.team.slug, "dataset": str(job.dataset_version), "grader": str(grader)},
            **dict(job.settings),
            "alarm": alarm | {"grader": held_out.parsed if held_out else None},
            "preflight": preflight,
        }
    )


def _promoted_from(job: Job) -> JsonObject | None:
    if job.promoted_step is None:
        return None
    source = job.promoted_from.uid if job.promoted_from else "deleted"
    return {"job_id": source, "step": job.promoted_step}
