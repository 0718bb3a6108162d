"""The phases of a job, for its stepper: what is done, how long each took, where it stopped."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils import timezone

from webapp.jobs.models import Job
from webapp.jobs.states import TERMINAL, State

NAMES = {
    "prepare": "Prepare",
    "preflight": "Measure base",
    "train": "Train",
    "evaluate": "Compare",
    "package": "Package",
}
PHASES = tuple(NAMES)
Event = tuple[datetime, str, dict[str, Any]]


@dataclass(frozen=True)
class Step:
    """A phase: done, current, to come, or where the job stopped. ``seconds`` over all attempts."""

    name: str
    status: str
    seconds: float | None


def stepper(job: Job) -> list[Step]:
    """The phases in their order."""
    spent = spent_by(job)
    return [Step(name, _status(job, phase), spent.get(phase)) for phase, name in NAMES.items()]


def spent_by(job: Job) -> dict[str, float]:
    """Phase -> seconds that workers have spent in it so far."""
    events = job.events.filter(kind__in=("phase", "state")).order_by("pk")
    return durations(events.values_list("created_at", "kind", "data"), timezone.now())


def _status(job: Job, phase: str) -> str:
    reached = PHASES.index(job.phase) if job.phase in PHASES else -1
    place = PHASES.index(phase)
    if job.state == State.SUCCEEDED or place < reached:
        return "done"
    if place > reached:
        return "to come"
    return "stopped here" if job.state in TERMINAL else "current"


def durations(events: Iterable[Event], now: datetime) -> dict[str, float]:
    """Phase -> seconds that workers spent in it by ``now``; events are in their order."""
    spent: dict[str, float] = defaultdict(float)
    phase, since = "", now
    for at, kind, data in events:
        if phase:
            spent[phase] += (at - since).total_seconds()
        phase, since = (data.get("phase", "") if kind == "phase" else ""), at
    if phase:
        spent[phase] += (now - since).total_seconds()
    return dict(spent)
