"""How far the job is, and an estimate of the time left from the speeds measured so far."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from workers.events import Event, Phase, PhaseEvent, ProgressEvent

ALIVE_SECONDS = 60.0
PACKAGE_SECONDS = 20.0  # a fresh process loads torch and the model to check the package


@dataclass
class Pace:
    """Mean seconds per unit, forgetting slowly: the last units count most."""

    seconds: float | None = None

    def add(self, units: int, seconds: float) -> None:
        each = seconds / units
        self.seconds = each if self.seconds is None else 0.7 * self.seconds + 0.3 * each


@dataclass
class Progress:
    """Counts optimiser steps and evaluation answers, the two things that take time."""

    emit: Callable[[Event], None]
    steps_left: int
    answers_left: int
    phase: Phase = "prepare"
    _done: int = 0
    _total: int = 0
    _unit: str = "steps"
    _since: float = field(default_factory=time.perf_counter)
    _told: float = field(default_factory=time.perf_counter)
    _step: Pace = field(default_factory=Pace)
    _answer: Pace = field(default_factory=Pace)

    def enter(self, phase: Phase, done: int = 0, total: int = 0, unit: str = "steps") -> None:
        """A new phase begins, with ``total`` units of which ``done`` are done already."""
        self.phase, self._done, self._total, self._unit = phase, done, total, unit
        self._since = time.perf_counter()
        self.emit(PhaseEvent(phase=phase))

    def step(self) -> None:
        """One optimiser step is done."""
        self.steps_left -= 1
        self._step.add(1, self._lap())
        self._tell(1)

    def end_training(self, answers_left: int) -> None:
        """Training is over, perhaps before its last step; so many answers are still to be sampled."""
        self.steps_left, self.answers_left = 0, answers_left

    def aside(self, number: int) -> None:
        """So many answers have been sampled that the phase does not count: to the rows of suites."""
        self.answers_left -= number
        self._answer.add(number, self._lap())

    def answers(self, number: int) -> None:
        """So many evaluation answers have been sampled; told as progress only outside training."""
        self.aside(number)
        if self._unit == "answers":
            self._tell(number)

    def pause_clock(self) -> None:
        """What happened since the last unit belongs to none (a checkpoint, grading an evaluation)."""
        self._since = time.perf_counter()

    def alive(self) -> None:
        """Says now and then that work goes on, where a step or an evaluation takes long."""
        if time.perf_counter() - self._told > ALIVE_SECONDS:
            self._tell(0)

    def eta_seconds(self) -> float | None:
        """Estimated seconds to the end of the job; ``None`` until the first step has been timed."""
        if self._step.seconds is None and self.steps_left > 0:
            return None
        steps = max(self.steps_left, 0) * (self._step.seconds or 0.0)
        return steps + max(self.answers_left, 0) * (self._answer.seconds or 0.0) + PACKAGE_SECONDS

    def _lap(self) -> float:
        now = time.perf_counter()
        lap, self._since = now - self._since, now
        return lap

    def _tell(self, units: int) -> None:
        self._told = time.perf_counter()
        self._done += units
        self.emit(
            ProgressEvent(
                phase=self.phase,
                done=self._done,
                total=self._total,
                unit=self._unit,
                eta_seconds=self.eta_seconds(),
            )
        )
