"""What a line of a job's log says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import template

from webapp.jobs.models import JobEvent
from webapp.jobs.monitor.phases import NAMES
from webapp.jobs.states import State

register = template.Library()
STAGES = {"before": "The base model was measured", "during": "Measured", "after": "Compared"}


def _state(data: dict[str, Any]) -> str:
    return f"State: {State(data['state']).label}"


def _phase(data: dict[str, Any]) -> str:
    return f"Phase: {NAMES.get(data['phase'], data['phase'])}"


def _checkpoint(data: dict[str, Any]) -> str:
    return f"Checkpoint at step {data['step']}"


def _evaluation(data: dict[str, Any]) -> str:
    return f"{STAGES.get(data['stage'], data['stage'])} on {data['split']} rows, step {data['step']}"


def _request(data: dict[str, Any]) -> str:
    return f"Asked to {data['request']}"


SAID: dict[str, Callable[[dict[str, Any]], str]] = {
    "state": _state,
    "request": _request,
    "phase": _phase,
    "checkpoint": _checkpoint,
    "evaluation": _evaluation,
}


@register.filter
def said(line: JobEvent) -> str:
    """The line in words."""
    say = SAID.get(line.kind)
    return say(line.data) if say else str(line.data.get("message", ""))


@register.filter
def level(line: JobEvent) -> str:
    """``error``, ``warning``, or empty for what is only told."""
    told = "error" if line.kind == "error" else "warning" if line.kind == "alarm" else line.data.get("level")
    return str(told) if told in {"error", "warning"} else ""
