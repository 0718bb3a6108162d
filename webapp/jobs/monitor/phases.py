"""Phases of a job, for the stepper of its page: their status and how long each took."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone

from webapp.jobs.models import Job
from webapp.jobs.states import TERMINAL, State
from workers.contract.json_types import JsonObject

NAMES = {
    "prepare": "Prepare",
    "preflight": "Measure base",
    "train": "Train",
    "evaluate": "Compare",
    "package": "Package",
}
PHASES = tuple(NAMES)
Event = tuple[datetime, str, JsonObject]  # time, kind and data of a JobEvent


@dataclass(frozen=True)
class Step:
    """A phase. ``status`` is done, current, to come or stopped here."""

    name: str
    status: str
    seconds: float | None


def list_steps(job: Job) -> list[Step]:
    """Return the phases in their order."""
    seconds = measure_phases(job)
    return [Step(name, _find_status(job, phase), seconds.get(phase)) for phase, name in NAMES.items()]


def measure_phases(job: Job) -> dict[str, float]:
    """Return phase -> seconds that workers have spent in it so far."""
    events = job.events.filter(kind__in=("phase", "state")).order_by("pk")
    return sum_durations(events.values_list("created_at", "kind", "data"), timezone.now())


def _find_status(job: Job, phase: str) -> str:
    reached = PHASES.index(job.phase) if job.phase in PHASES else -1
    index = PHASES.index(phase)
    if job.state == State.SUCCEEDED or index < reached:
        return "done"
    if index > reached:
        return "to come"
    return "stopped here" if job.state in TERMINAL else "current"


def sum_durations(events: Iterable[Event], now: datetime) -> dict[str, float]:
    """Return phase -> seconds that workers spent in it by ``now``, from ordered events.

    A phase lasts until the next phase or change of state: time in the queue or paused does not count.
    """
    seconds: dict[str, float] = defaultdict(float)
    phase, since = "", now
    for at, kind, data in events:
        if phase:
            seconds[phase] += (at - since).total_seconds()
        phase, since = (str(data.get("phase", "")) if kind == "phase" else ""), at
    if phase:
        seconds[phase] += (now - since).total_seconds()
    return dict(seconds)
