"""The life of a job: one table of states and the transitions between them."""

from __future__ import annotations

from django.db.models import TextChoices


class State(TextChoices):
    """Where a job stands. Names are the OpenAI API's, and ``paused``."""

    VALIDATING_FILES = "validating_files", "Validating files"
    QUEUED = "queued", "Queued"
    RUNNING = "running", "Running"
    PAUSED = "paused", "Paused"
    SUCCEEDED = "succeeded", "Succeeded"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"


TRANSITIONS: dict[State, frozenset[State]] = {
    State.VALIDATING_FILES: frozenset({State.QUEUED, State.FAILED, State.CANCELLED}),
    State.QUEUED: frozenset({State.RUNNING, State.FAILED, State.CANCELLED}),
    State.RUNNING: frozenset({State.QUEUED, State.PAUSED, State.SUCCEEDED, State.FAILED, State.CANCELLED}),
    State.PAUSED: frozenset({State.QUEUED, State.FAILED, State.CANCELLED}),
    State.SUCCEEDED: frozenset(),
    State.FAILED: frozenset(),
    State.CANCELLED: frozenset(),
}
TERMINAL = frozenset(state for state, onward in TRANSITIONS.items() if not onward)


def sources(target: State) -> list[State]:
    """The states from which ``target`` may be reached."""
    return [state for state, onward in TRANSITIONS.items() if target in onward]
