"""Hyperparameters of the API as settings of a job, and back."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, get_args

from webapp.jobs.api.schemas import Effort, Hyperparameters, JobBody
from webapp.jobs.models import Job
from webapp.registry.models import BaseModel
from workers.contract.json_types import JsonObject
from workers.contract.spec import MAX_SEED, EvaluationSettings, GrpoSettings

GROUP_SIZES = (2, 64)
HYPERPARAMETERS = "method.reinforcement.hyperparameters"
PARAMS = {
    "grpo.prompts_per_step": f"{HYPERPARAMETERS}.batch_size",
    "grpo.epochs": f"{HYPERPARAMETERS}.n_epochs",
    "grpo.learning_rate": f"{HYPERPARAMETERS}.learning_rate_multiplier",
    "grpo.group_size": f"{HYPERPARAMETERS}.compute_multiplier",
    "evaluation.every": f"{HYPERPARAMETERS}.eval_interval",
    "evaluation.validation_samples_per_row": f"{HYPERPARAMETERS}.eval_samples",
    "grader_version": "method.reinforcement.grader",
    "environment_version": "method.reinforcement.environment",
    "initial_adapter": "model",
    "seed": "seed",
}


def build_settings(base: BaseModel, validation: int, asked: JobBody) -> JsonObject:
    """Return sections of ``JobSettings``: what the base model recommends, changed by what was asked.

    ``validation`` is the number of validation rows.
    """
    assert asked.method, "only reinforcement has settings"
    assert asked.method.reinforcement, "only reinforcement has settings"
    chosen = map_hyperparameters(base, asked.method.reinforcement.hyperparameters)
    ours: JsonObject = {
        # Callers of the API wait for an end; nobody is there to answer a preflight's question.
        "preflight": {"on_no_go": "go_on"},
        "evaluation": {"validation_max_rows": validation} if validation else {},
    }
    sections = base.settings
    for layer in (ours, chosen, asked.settings):
        sections = _merge(sections, layer)
    return {**sections, "seed": secrets.randbelow(MAX_SEED) if asked.seed is None else asked.seed}


def count_validation_rows(job: Job) -> int:
    """Return the number of a job's validation rows; 0 while its rows are being made."""
    version = job.dataset_version
    return version.files["validation"]["rows"] if version else 0


def map_hyperparameters(base: BaseModel, asked: Hyperparameters) -> JsonObject:
    """Return the sections of ``JobSettings`` that the hyperparameters set; "auto" sets nothing."""
    recommended = GrpoSettings.model_validate(base.settings.get("grpo", {}))
    grpo: JsonObject = {"prompts_per_step": asked.batch_size, "epochs": asked.n_epochs}
    if asked.learning_rate_multiplier:
        grpo["learning_rate"] = recommended.learning_rate * asked.learning_rate_multiplier
    if asked.compute_multiplier:
        size, (least, most) = round(recommended.group_size * asked.compute_multiplier), GROUP_SIZES
        grpo["group_size"] = min(max(size, least), most)
    grpo = {name: value for name, value in grpo.items() if value is not None}
    if asked.n_epochs:
        grpo["max_steps"] = None  # steps that the base model recommends would overrule epochs
    evaluation = {"every": asked.eval_interval, "validation_samples_per_row": asked.eval_samples}
    sections: JsonObject = {
        "grpo": grpo,
        "evaluation": {name: value for name, value in evaluation.items() if value is not None},
    }
    if asked.reasoning_effort != "default":
        sections["chat"] = {"template_arguments": {"reasoning_effort": asked.reasoning_effort}}
    return sections


def _merge(sections: Mapping[str, Any], more: Mapping[str, Any]) -> JsonObject:
    """Return the sections with the settings of ``more`` in place of equal ones."""
    merged = dict(sections)
    for name, values in more.items():
        below = merged.get(name)
        merged[name] = {**below, **values} if isinstance(below, Mapping) else values
    return merged


def describe_settings(job: Job) -> JsonObject:
    """Return the hyperparameters of a job that was not made by the API."""
    grpo, evaluation = job.settings.grpo, job.settings.evaluation
    recommended = GrpoSettings.model_validate(job.base_model.settings.get("grpo", {}))
    effort = job.settings.chat.template_arguments.get("reasoning_effort")
    return {
        "batch_size": grpo.prompts_per_step,
        "n_epochs": grpo.epochs,
        "learning_rate_multiplier": grpo.learning_rate / recommended.learning_rate,
        "compute_multiplier": grpo.group_size / recommended.group_size,
        **_describe_evaluation(evaluation),
        "reasoning_effort": effort if effort in get_args(Effort) else "default",
    }


def _describe_evaluation(evaluation: EvaluationSettings) -> JsonObject:
    interval: JsonObject = {"eval_interval": evaluation.every} if evaluation.every else {}
    return interval | {"eval_samples": evaluation.validation_samples_per_row}


def name_param(path: str) -> str:
    """Return the dotted path in the request of a setting that ``launch`` refused."""
    return PARAMS.get(path, f"settings.{path}")
