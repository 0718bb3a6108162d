"""Events of a job as objects of the API."""

from __future__ import annotations

from django.db.models import Q, QuerySet

from webapp.jobs.models import Job, JobEvent
from webapp.jobs.states import State
from workers.contract.json_types import JsonObject

KINDS = ("created", "validating", "state", "step", "checkpoint", "alarm", "error", "model")
SHOWN = Q(kind__in=KINDS) | Q(kind="log", data__level__in=["warning", "error"])
LEVELS = {"warning": "warn", "error": "error"}
STARTED = {1: "Fine-tuning job started"}
QUEUED = {
    State.VALIDATING_FILES: "Files validated, moving job to queued state",
    State.PAUSED: "Fine-tuning job resumed, moving job to queued state",
    State.RUNNING: "Fine-tuning job interrupted, moving job to queued state",
}
STATES = {
    State.PAUSED: "Fine-tuning job paused",
    State.CANCELLED: "Fine-tuning job cancelled",
    State.SUCCEEDED: "The job has successfully completed",
}
REWARDS = {
    "train_mean_reward": "train mean reward",
    "full_valid_mean_reward": "full validation mean reward",
    "full_valid_mean_parse_error": "full validation mean parse error",
}


def select_events(job: Job) -> QuerySet[JobEvent]:
    """Return the job's events that the API shows."""
    return job.events.filter(SHOWN)


def describe_event(job: Job, event: JobEvent) -> JsonObject:
    """Return the event object."""
    return {
        "object": "fine_tuning.job.event",
        "id": event.uid,
        "created_at": int(event.created_at.timestamp()),
        "level": _find_level(event),
        "message": _write_message(job, event),
        "type": "metrics" if event.kind == "step" else "message",
        "data": event.data if event.kind == "step" else None,
    }


def _find_level(event: JobEvent) -> str:
    if event.kind == "error" or event.data.get("state") == State.FAILED:
        return "error"
    if event.kind == "alarm" or event.data.get("before") == State.RUNNING == event.data.get("state"):
        return "warn"
    return LEVELS.get(event.data.get("level", ""), "info")


def _write_message(job: Job, event: JobEvent) -> str:
    data: JsonObject = event.data
    match event.kind:
        case "created":
            return f"Created fine-tuning job: {job.uid}"
        case "validating":
            validation = f" and validation file: {name}" if (name := data["validation_file"]) else ""
            return f"Validating training file: {data['training_file']}{validation}"
        case "state":
            return _describe_state(job, event)
        case "step":
            return _describe_step(data)
        case "checkpoint":
            return f"Checkpoint created at step {data['step']}"
        case "model":
            return f"New fine-tuned model created: {data['name']}"
    return str(data.get("message", ""))


def _describe_state(job: Job, event: JobEvent) -> str:
    state = State(event.data["state"])
    match state:
        case State.QUEUED:
            return QUEUED[State(event.data.get("before", State.VALIDATING_FILES))]
        case State.RUNNING:
            again = f"Fine-tuning job started again (attempt {event.attempt})"
            return "Fine-tuning job started" if event.attempt == 1 else again
        case State.FAILED:
            return f"The job failed: {job.error.message}" if job.error else "The job failed"
    return STATES[state]


def _describe_step(data: JsonObject) -> str:
    if "train_loss" in data:
        return f"Step {data['step']}/{data['total_steps']}: training loss={data['train_loss']:.2f}"
    values = [f", {label}={data[name]:.2f}" for name, label in REWARDS.items() if name in data]
    return f"Step {data['step']}/{data['total_steps']} {''.join(values)}".rstrip()
