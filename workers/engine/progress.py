"""Progress of a job, and the time left by the speeds measured so far."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from workers.contract.events import Event, Phase, PhaseEvent, ProgressEvent
from workers.contract.workload import RemainingWork

ALIVE_SECONDS = 60.0
PACKAGE_SECONDS = 10.0  # a fresh process loads torch, and then the model, to check the package
DRIFT_SHARE = 0.5  # of training on a completion: scoring it with two models, until that was measured


def _now() -> float:
    return time.perf_counter()


@dataclass
class Pace:
    """Moving average of seconds per unit: the last units count most."""

    seconds: float | None = None

    def add(self, units: int, seconds: float) -> None:
        each = seconds / units
        self.seconds = each if self.seconds is None else 0.7 * self.seconds + 0.3 * each


@dataclass
class Progress:
    """Counts optimiser steps and the completions of evaluations, each at its own pace."""

    emit: Callable[[Event], None]
    steps_left: int
    left: RemainingWork
    rollouts_per_step: int = 1
    phase: Phase = "prepare"
    _done: int = 0
    _total: int = 0
    _unit: str = "steps"
    _since: float = field(default_factory=_now)
    _emitted: float = field(default_factory=_now)
    _step: Pace = field(default_factory=Pace)
    _completion: Pace = field(default_factory=Pace)
    _suite_completion: Pace = field(default_factory=Pace)
    _drift: Pace = field(default_factory=Pace)
    _began: float = field(default_factory=_now)
    _prepared: float = 0.0

    def enter(self, phase: Phase, done: int = 0, total: int = 0, unit: str = "steps") -> None:
        """Begin a phase of ``total`` units, of which ``done`` are done already."""
        if self.phase == "prepare" and phase != "prepare":
            self._prepared = time.perf_counter() - self._began
        self.phase, self._done, self._total, self._unit = phase, done, total, unit
        self._since = time.perf_counter()
        self.emit(PhaseEvent(phase=phase))

    def count_step(self) -> None:
        """Count one optimiser step."""
        self.steps_left -= 1
        self._step.add(1, self._lap())
        self._emit_progress(1)

    def end_training(self, left: RemainingWork) -> None:
        """Training is over, perhaps before its last step; ``left`` is what remains."""
        self.steps_left, self.left = 0, left

    def count_suite_completions(self, number: int) -> None:
        """Count sampled completions of suites; the phase's progress leaves them out."""
        self.left.suite_completions -= number
        self._suite_completion.add(number, self._lap())
        self.emit_if_due()

    def count_drift_completions(self, number: int) -> None:
        """Count completions that base and tuned model have scored for the drift."""
        self.left.drift_completions -= number
        if number:
            self._drift.add(number, self._lap())
        self.emit_if_due()

    def count_completions(self, number: int) -> None:
        """Count sampled completions of an evaluation; outside training they are the phase's progress."""
        self.left.completions -= number
        self._completion.add(number, self._lap())
        if self._unit == "completions":
            self._emit_progress(number)

    def pause_clock(self) -> None:
        """Leave out the time since the last unit (a checkpoint, the grading of an evaluation)."""
        self._since = time.perf_counter()

    def emit_if_due(self) -> None:
        """Emit progress now and then while a step or an evaluation takes long."""
        if time.perf_counter() - self._emitted > ALIVE_SECONDS:
            self._emit_progress(0)

    def eta_seconds(self) -> float | None:
        """Return the estimated seconds to the end of the job; ``None`` until a step has been timed."""
        if self._step.seconds is None and self.steps_left > 0:
            return None
        step, completion = self._step.seconds or 0.0, self._completion.seconds or 0.0
        suite = completion if self._suite_completion.seconds is None else self._suite_completion.seconds
        drift = self._drift.seconds
        if drift is None:
            drift = DRIFT_SHARE * step / self.rollouts_per_step
        return (
            max(self.steps_left, 0) * step
            + max(self.left.completions, 0) * completion
            + max(self.left.suite_completions, 0) * suite
            + max(self.left.drift_completions, 0) * drift
            + self._package_seconds()
        )

    def _package_seconds(self) -> float:
        """The package is checked by a new process, which loads the model as this one did."""
        if self.phase == "package":
            return max(0.0, PACKAGE_SECONDS + self._prepared - (time.perf_counter() - self._since))
        return PACKAGE_SECONDS + self._prepared

    def _lap(self) -> float:
        now = time.perf_counter()
        lap, self._since = now - self._since, now
        return lap

    def _emit_progress(self, units: int) -> None:
        self._emitted = time.perf_counter()
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
