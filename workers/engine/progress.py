"""How far the job is, and an estimate of the time left from the speeds measured so far."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from workers.contract.events import Event, Phase, PhaseEvent, ProgressEvent
from workers.contract.workload import Left

ALIVE_SECONDS = 60.0
PACKAGE_SECONDS = 10.0  # a fresh process loads torch, and then the model, to check the package
# Before a drift has been measured: scoring an answer with two models, in shares of training on it.
DRIFT_SHARE = 0.5


def _now() -> float:
    return time.perf_counter()


@dataclass
class Pace:
    """Mean seconds per unit, forgetting slowly: the last units count most."""

    seconds: float | None = None

    def add(self, units: int, seconds: float) -> None:
        each = seconds / units
        self.seconds = each if self.seconds is None else 0.7 * self.seconds + 0.3 * each


@dataclass
class Progress:
    """Counts optimiser steps, and the answers of evaluations: what takes time, each at its own pace."""

    emit: Callable[[Event], None]
    steps_left: int
    left: Left
    rollouts_per_step: int = 1
    phase: Phase = "prepare"
    _done: int = 0
    _total: int = 0
    _unit: str = "steps"
    _since: float = field(default_factory=_now)
    _told: float = field(default_factory=_now)
    _step: Pace = field(default_factory=Pace)
    _answer: Pace = field(default_factory=Pace)
    _suite_answer: Pace = field(default_factory=Pace)
    _drift: Pace = field(default_factory=Pace)
    _began: float = field(default_factory=_now)
    _prepared: float = 0.0

    def enter(self, phase: Phase, done: int = 0, total: int = 0, unit: str = "steps") -> None:
        """A new phase begins, with ``total`` units of which ``done`` are done already."""
        if self.phase == "prepare" and phase != "prepare":
            self._prepared = time.perf_counter() - self._began
        self.phase, self._done, self._total, self._unit = phase, done, total, unit
        self._since = time.perf_counter()
        self.emit(PhaseEvent(phase=phase))

    def step(self) -> None:
        """One optimiser step is done."""
        self.steps_left -= 1
        self._step.add(1, self._lap())
        self._tell(1)

    def end_training(self, left: Left) -> None:
        """Training is over, perhaps before its last step; so much is still to be done."""
        self.steps_left, self.left = 0, left

    def suite_answers(self, number: int) -> None:
        """So many answers to the rows of suites have been sampled; the phase does not count them."""
        self.left.suite_answers -= number
        self._suite_answer.add(number, self._lap())
        self.alive()

    def drift_answers(self, number: int) -> None:
        """So many answers have been scored by base and tuned model, to measure the drift."""
        self.left.drift_answers -= number
        if number:
            self._drift.add(number, self._lap())
        self.alive()

    def answers(self, number: int) -> None:
        """So many evaluation answers have been sampled; told as progress only outside training."""
        self.left.answers -= number
        self._answer.add(number, self._lap())
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
        step, answer = self._step.seconds or 0.0, self._answer.seconds or 0.0
        suite = answer if self._suite_answer.seconds is None else self._suite_answer.seconds
        drift = self._drift.seconds
        if drift is None:
            drift = DRIFT_SHARE * step / self.rollouts_per_step
        return (
            max(self.steps_left, 0) * step
            + max(self.left.answers, 0) * answer
            + max(self.left.suite_answers, 0) * suite
            + max(self.left.drift_answers, 0) * drift
            + self._package_seconds()
        )

    def _package_seconds(self) -> float:
        """The package is checked by a process that loads the model as this one did."""
        if self.phase == "package":
            return max(0.0, PACKAGE_SECONDS + self._prepared - (time.perf_counter() - self._since))
        return PACKAGE_SECONDS + self._prepared

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
