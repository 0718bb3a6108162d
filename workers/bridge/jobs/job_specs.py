"""The engine's spec of one attempt, made from the job's row."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from webapp.jobs.models import Job
from webapp.jobs.services import parts_of
from workers.bridge.jobs import files, suites, task_files
from workers.contract.graders import Grader
from workers.contract.spec import JobSpec


def definitions(job: Job) -> list[Grader]:
    """Every grader that the job asks."""
    asked = [*parts_of(job), *suites.chosen(job)]
    versions = [*(part.grader_version for part in asked), job.held_out_grader]
    return [version.parsed for version in versions if version is not None]


def _preflight(job: Job) -> dict[str, Any]:
    """Once it has given its advice the preflight is not repeated."""
    settings: dict[str, Any] = job.settings.get("preflight", {})
    return settings | {"rows": 0} if job.preflight else settings


def _promoted_from(job: Job) -> dict[str, Any] | None:
    if job.promoted_step is None:
        return None
    source = job.promoted_from.uid if job.promoted_from else "deleted"
    return {"job_id": source, "step": job.promoted_step}


def _alarm(job: Job) -> dict[str, Any]:
    held_out = job.held_out_grader
    grader = held_out.parsed.model_dump(mode="json") if held_out else None
    return {**job.settings.get("alarm", {}), "grader": grader}


def job_spec(
    job: Job,
    splits: dict[str, Any],
    endpoints: dict[str, Any],
    start: dict[str, Any] | None = None,
    kept: Sequence[dict[str, Any]] = (),
    sft: dict[str, Any] | None = None,
) -> JobSpec:
    """The spec of one attempt. ``splits`` may state a hash of their own, see ``tasks.fetch_splits``."""
    base, version, grader = job.base_model, job.dataset_version, job.grader_version
    sections = {key: value for key, value in job.settings.items() if key != "seed"}
    return JobSpec.model_validate_json(
        json.dumps(
            {
                "job_id": job.uid,
                "model_name": job.name,
                "base_model": files.local_ref(base).model_dump(),
                "dataset": {"sha256": version.sha256, **splits},
                "grader": grader.parsed.model_dump(mode="json"),
                "judges": endpoints,
                "grader_sha256": grader.sha256,
                "tasks": task_files.task_specs(job),
                "method": job.method,
                "start": start,
                "sft": sft,
                "promoted_from": _promoted_from(job),
                "suites": kept,
                "seed": job.settings["seed"],
                "labels": {"team": job.team.slug, "dataset": str(version), "grader": str(grader)},
                **sections,
                "alarm": _alarm(job),
                "preflight": _preflight(job),
            }
        )
    )
