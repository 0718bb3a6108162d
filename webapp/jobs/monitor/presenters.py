"""What the pages of jobs show, computed from rows."""

from __future__ import annotations

from typing import Any

from webapp.jobs.models import Job, JobTask
from webapp.jobs.monitor import metrics
from workers.contract.spec import JobSettings


def held_out(job: Job) -> dict[str, Any]:
    """The held-out grader as the settings page shows it; empty without one."""
    version = job.held_out_grader
    return {"held_out_grader": {"version": str(version), "sha256": version.sha256}} if version else {}


def confidence(job: Job) -> float:
    """The level of the job's intervals, such as 0.95."""
    return job.settings.evaluation.confidence


def add_results(jobs: list[Job]) -> None:
    """Give each job what the list shows of it: its rewards and its final comparison."""
    rewards = metrics.rewards(jobs)
    for job in jobs:
        job.rewards = rewards.get(job.pk, [])  # type: ignore[attr-defined]
        after = [each for each in job.evaluations.all() if each.stage == "after" and not each.task]
        job.comparison = after[-1] if after else None  # type: ignore[attr-defined]


def differences(before: JobSettings, after: JobSettings) -> list[tuple[str, object, object]]:
    """(path, value before, value after) of every setting that differs, in the order of the spec."""
    old, new = flatten(before), flatten(after)
    return [(path, old[path], value) for path, value in new.items() if old[path] != value]


def flatten(settings: JobSettings) -> dict[str, object]:
    """Settings by their path, such as ``grpo.max_steps``, in the order of the spec."""
    flat: dict[str, object] = {}
    for section, values in settings.model_dump(mode="json").items():
        if isinstance(values, dict):
            flat |= {f"{section}.{name}": value for name, value in values.items()}
        else:
            flat[section] = values
    return flat


def task_shares(job: Job) -> list[tuple[JobTask, float]]:
    """Each of several tasks with the mean number of its prompts in a step."""
    tasks = list(job.tasks.select_related("dataset_version__dataset__team", "grader_version__grader__team"))
    total, prompts = sum(task.weight for task in tasks), job.settings.grpo.prompts_per_step
    return [(task, prompts * task.weight / total) for task in tasks]
