"""Labels and colours of job states."""

from __future__ import annotations

from django import template

from webapp.jobs.states import State

register = template.Library()
KINDS = {
    State.VALIDATING_FILES: "info",
    State.QUEUED: "info",
    State.RUNNING: "primary",
    State.PAUSED: "warning",
    State.SUCCEEDED: "success",
    State.FAILED: "error",
    State.CANCELLED: "",
}


@register.filter
def state_label(state: str) -> str:
    """The label of a job state."""
    return State(state).label


@register.filter
def state_kind(state: str) -> str:
    """The colour of a job state's badge."""
    return KINDS[State(state)]
