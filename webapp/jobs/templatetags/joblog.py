"""Lines of a job's log as text."""

from __future__ import annotations

from django import template

from webapp.jobs.models import JobEvent
from webapp.jobs.monitor.phases import NAMES
from webapp.jobs.states import State

register = template.Library()
LEVELS = {"error": "error", "alarm": "warning"}
STAGES = {"before": "The base model was measured", "during": "Measured", "after": "Compared"}


@register.filter
def describe_line(line: JobEvent) -> str:
    """The event as a sentence."""
    data = line.data
    match line.kind:
        case "state":
            return f"State: {State(data['state']).label}"
        case "request":
            return f"Requested: {data['request']}"
        case "phase":
            return f"Phase: {NAMES.get(data['phase'], data['phase'])}"
        case "checkpoint":
            return f"Checkpoint at step {data['step']}"
        case "evaluation":
            return f"{STAGES.get(data['stage'], data['stage'])} on {data['split']} rows, step {data['step']}"
    return str(data.get("message", ""))


@register.filter
def line_level(line: JobEvent) -> str:
    """``error``, ``warning``, or empty for other lines."""
    if line.kind in LEVELS:
        return LEVELS[line.kind]
    level = line.data.get("level")
    return str(level) if level in ("error", "warning") else ""
