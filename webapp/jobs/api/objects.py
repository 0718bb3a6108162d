"""Jobs and checkpoints as objects of the API."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db.models import FloatField, OuterRef, QuerySet, Subquery
from django.db.models.fields.json import KT
from django.db.models.functions import Cast
from django.utils import timezone

from webapp.jobs.api.settings import describe_settings
from webapp.jobs.checkpoints import read_validation_rewards
from webapp.jobs.launch.service import name_files
from webapp.jobs.models import Checkpoint, Job, Metric
from webapp.jobs.states import TERMINAL, State
from webapp.teams.models import Team
from workers.contract.json_types import JsonObject

SHOWN = (
    "team", "base_model", "tuned_model", "initial_adapter", "dataset_version__validation_file",
    "grader_version", "environment_version",
)  # fmt: skip
INVALID_FILE = "invalid_training_file"
FILE_ERRORS = {INVALID_FILE: "training_file", "invalid_validation_file": "validation_file"}


def select_jobs(team: Team) -> QuerySet[Job]:
    """Return the team's jobs, with everything that their objects show."""
    newest = Metric.objects.filter(job=OuterRef("pk")).order_by("-step")
    tokens = newest.values(tokens=Cast(KT("values__num_tokens"), FloatField()))[:1]
    jobs = Job.objects.alive().filter(team=team).select_related(*SHOWN)
    return jobs.annotate(tokens=Subquery(tokens))


def describe_job(job: Job) -> dict[str, Any]:
    """Return the job object. ``job`` comes from ``select_jobs``."""
    training, validation = name_files(job)
    method = _describe_method(job)
    return {
        "object": "fine_tuning.job",
        "id": job.uid,
        "model": _name_model(job),
        "created_at": to_unix(job.created_at),
        "finished_at": to_unix(job.finished_at),
        "estimated_finish": _estimate_finish(job),
        "fine_tuned_model": job.tuned_model.name if job.tuned_model else None,
        "organization_id": f"org-{job.team.slug}",
        "result_files": [job.result_file] if job.result_file else [],
        "status": job.state,
        "training_file": training,
        "validation_file": validation,
        "trained_tokens": _count_tokens(job),
        "error": _describe_error(job),
        "hyperparameters": method["supervised"]["hyperparameters"] if "supervised" in method else None,
        "seed": job.settings.seed,
        "integrations": job.asked.get("integrations", []),
        "metadata": job.metadata,
        "user_provided_suffix": job.asked.get("suffix"),
        "method": method,
    }


def to_unix(time: datetime | None) -> int | None:
    """Return Unix seconds."""
    return int(time.timestamp()) if time else None


def _name_model(job: Job) -> str:
    if asked := job.asked.get("model"):
        return str(asked)
    return job.initial_adapter.name if job.initial_adapter else job.base_model.model_id


def _count_tokens(job: Job) -> int | None:
    tokens = getattr(job, "tokens", None)  # counted by ``select_jobs``
    return int(tokens) if tokens and job.state in TERMINAL else None


def _estimate_finish(job: Job) -> int | None:
    left = job.seconds_left
    return to_unix(timezone.now() + timedelta(seconds=left)) if left else None


def _describe_error(job: Job) -> JsonObject | None:
    if job.state != State.FAILED or job.error is None:
        return None
    code = job.error.code or "server_error"
    message = f"{job.error.message} {job.error.remedy}".strip()
    param = FILE_ERRORS.get(code)
    return {"code": INVALID_FILE if param else code, "message": message, "param": param}


def _describe_method(job: Job) -> dict[str, Any]:
    """Return what was asked; of a page's job its settings. A placebo has no name in OpenAI's API."""
    if asked := job.asked.get("method"):
        assert isinstance(asked, dict)
        return asked
    if job.sft:
        hyperparameters = {"batch_size": job.sft.batch_size, "n_epochs": job.sft.epochs}
        return {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}
    kind = "reinforcement" if job.method == "rft" else job.method
    described = {
        "grader": job.grader_version.definition,
        "response_format": None,
        "hyperparameters": describe_settings(job),
    }
    if job.environment_version:
        described["environment"] = job.environment_version.uid
    return {"type": kind, kind: described}


# --- checkpoints -----------------------------------------------------------------------------------


def describe_checkpoints(job: Job, checkpoints: list[Checkpoint]) -> dict[int, dict[str, Any]]:
    """Return checkpoint objects by primary key."""
    steps = [each.step for each in checkpoints]
    metrics = dict(job.metrics.filter(step__in=steps).values_list("step", "values"))
    validation = read_validation_rewards(job.evaluations.filter(step__in=steps))
    return {
        each.pk: {
            "object": "fine_tuning.job.checkpoint",
            "id": each.uid,
            "created_at": to_unix(each.created_at),
            "fine_tuned_model_checkpoint": each.model_name,
            "fine_tuning_job_id": job.uid,
            "step_number": each.step,
            "metrics": _describe_metrics(each.step, metrics.get(each.step, {}), validation.get(each.step)),
        }
        for each in checkpoints
    }


def _describe_metrics(step: int, values: dict[str, float], validation: float | None) -> dict[str, float]:
    reward = values.get("reward")
    described = {
        "step": float(step),
        "train_loss": values.get("loss"),
        "train_mean_token_accuracy": values.get("mean_token_accuracy"),
        "train_reward_mean": reward,
        "train_mean_reward": reward,
        "valid_reward_mean": validation,
        "full_valid_mean_reward": validation,
    }
    return {name: value for name, value in described.items() if value is not None}
