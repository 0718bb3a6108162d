"""Values of job pages that are computed from several rows."""

from __future__ import annotations

from webapp.jobs.models import Job, JobTask
from webapp.jobs.models.job import TASK_VERSIONS
from webapp.jobs.monitor import metrics
from workers.contract.spec import JobSettings


def confidence(job: Job) -> float:
    """Level of the job's intervals, such as 0.95."""
    return job.settings.evaluation.confidence


def add_results(jobs: list[Job]) -> None:
    """Set ``rewards`` (of some steps) and ``comparison`` (the final evaluation) of each job."""
    rewards = metrics.sample_rewards(jobs)
    for job in jobs:
        job.rewards = rewards.get(job.pk, [])  # type: ignore[attr-defined]
        after = [each for each in job.evaluations.all() if each.stage == "after" and not each.task]
        job.comparison = after[-1] if after else None  # type: ignore[attr-defined]


def differences(before: JobSettings, after: JobSettings) -> list[tuple[str, object, object]]:
    """Return (path, value before, value after) of each setting that differs."""
    old, new = flatten(before), flatten(after)
    return [(path, old[path], value) for path, value in new.items() if old[path] != value]


def flatten(settings: JobSettings) -> dict[str, object]:
    """Return settings by their path, such as ``grpo.max_steps``, in the order of the spec."""
    flat: dict[str, object] = {}
    for section, values in settings.model_dump(mode="json").items():
        if isinstance(values, dict):
            flat |= {f"{section}.{name}": value for name, value in values.items()}
        else:
            flat[section] = values
    return flat


def task_shares(job: Job) -> list[tuple[JobTask, float]]:
    """Return each of several tasks with the mean number of its prompts per step."""
    tasks = list(job.tasks.select_related(*TASK_VERSIONS, "grader_version__grader__team"))
    total, prompts = sum(task.weight for task in tasks), job.settings.grpo.prompts_per_step
    return [(task, prompts * task.weight / total) for task in tasks]
