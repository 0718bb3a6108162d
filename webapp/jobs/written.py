"""What made a job, written down: as JSON, as YAML, and as the SDK call that launches the same."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pprint import pformat
from typing import Any

import yaml

from webapp.retention import presenters as suites

from . import arms, presenters, tasks
from .models import Job
from .services import checked_settings

# OpenAI's hyperparameter -> section and name of the spec's setting that means the same.
HYPERPARAMETERS = {
    "batch_size": ("grpo", "prompts_per_step"),
    "n_epochs": ("grpo", "epochs"),
    "eval_interval": ("evaluation", "every"),
    "eval_samples": ("evaluation", "validation_samples_per_row"),
}
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
        Writing("python", "Python SDK", sdk_call(job)),
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


def sdk_call(job: Job) -> str:
    """The call of the ``openai`` package that says the same; the extra body says what is Groove's own."""
    arguments = call_arguments(job)
    lines = "".join(f"    {name}={_python(value)},\n" for name, value in arguments.items())
    return (
        "from openai import OpenAI\n\n"
        "client = OpenAI()  # OPENAI_BASE_URL and OPENAI_API_KEY name the server and the key\n\n"
        f"job = client.fine_tuning.jobs.create(\n{lines})\n"
    )


def call_arguments(job: Job) -> dict[str, Any]:
    """What ``fine_tuning.jobs.create`` is given."""
    settings = job.settings
    said = {
        name: settings[section][key]
        for name, (section, key) in HYPERPARAMETERS.items()
        if settings[section][key]  # no interval is 0 in OpenAI's terms: it goes into the extra body
    }
    reinforcement = {"grader": job.grader_version.definition, "hyperparameters": said}
    held_out = {"held_out_grader": job.held_out_grader.definition} if job.held_out_grader else {}
    own = {"name": job.name, "settings": _unsaid(settings, said)} | held_out | _others(job)
    return {
        "model": job.base_model.model_id,
        "training_file": job.dataset_version.uid,
        "seed": settings["seed"],
        "method": {"type": "reinforcement", "reinforcement": reinforcement},
        "extra_body": {"groove": own},
    }


def _others(job: Job) -> dict[str, Any]:
    """Tasks, suites and arm, where the job has them."""
    return tasks.shown(job) | suites.shown(job) | arms.shown(job) | _promoted(job)


def _promoted(job: Job) -> dict[str, Any]:
    """The checkpoint that the job makes a model of; empty for a job that trains."""
    if job.promoted_step is None:
        return {}
    source = job.promoted_from.uid if job.promoted_from else None
    return {"promoted_from": {"job": source, "step": job.promoted_step}}


def _unsaid(settings: dict[str, Any], said: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Settings that are not the default and that no hyperparameter says, by section."""
    known = {HYPERPARAMETERS[name] for name in said}
    unsaid = {
        section: {
            name: settings[section][name]
            for name, value in values.items()
            if (section, name) not in known and settings[section].get(name, value) != value
        }
        for section, values in checked_settings({}).items()
        if isinstance(values, dict) and section in settings
    }
    return {section: values for section, values in unsaid.items() if values}


def _python(value: Any) -> str:
    return pformat(value, width=WIDTH, sort_dicts=False).replace("\n", "\n    ")
