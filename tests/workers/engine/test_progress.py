"""The time left counts everything that is still to come, each kind of work at its own pace."""

from __future__ import annotations

import pytest

from workers.contract.events import Event, ProgressEvent
from workers.contract.workload import RemainingWork
from workers.engine import progress as module
from workers.engine.progress import PACKAGE_SECONDS, Progress


class Clock:
    """A clock that the test moves."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def begin(clock: Clock, left: RemainingWork, steps: int = 10) -> tuple[Progress, list[Event]]:
    """A job that took 5 s to prepare, in training."""
    told: list[Event] = []
    progress = Progress(told.append, steps, left, rollouts_per_step=4)
    clock.now += 5
    progress.enter("train", total=steps)
    return progress, told


def test_what_comes_after_the_last_step_is_counted(clock: Clock) -> None:
    progress, told = begin(clock, RemainingWork(completions=100, suite_completions=50, drift_completions=40))
    assert progress.eta_seconds() is None
    clock.now += 8
    progress.count_step()
    # 9 steps, drift at half a step's time for an answer; no answer of an evaluation has been timed yet.
    assert progress.eta_seconds() == pytest.approx(9 * 8 + 40 * 8 / 4 / 2 + PACKAGE_SECONDS + 5)
    assert isinstance(told[-1], ProgressEvent)
    assert told[-1].eta_seconds == progress.eta_seconds()


def test_suites_have_answer_lengths_of_their_own(clock: Clock) -> None:
    progress, _ = begin(
        clock, RemainingWork(completions=100, suite_completions=60, drift_completions=40), steps=0
    )
    clock.now += 10
    progress.count_completions(10)
    assert progress.eta_seconds() == pytest.approx(90 * 1 + 60 * 1 + PACKAGE_SECONDS + 5)
    clock.now += 50
    progress.count_suite_completions(10)
    clock.now += 4
    progress.count_drift_completions(20)
    assert progress.eta_seconds() == pytest.approx(90 * 1 + 50 * 5 + 20 * 0.2 + PACKAGE_SECONDS + 5)


def test_the_check_of_the_package_counts_down(clock: Clock) -> None:
    progress, _ = begin(clock, RemainingWork(), steps=0)
    progress.enter("package", total=1, unit="packages")
    assert progress.eta_seconds() == PACKAGE_SECONDS + 5
    clock.now += 6
    assert progress.eta_seconds() == PACKAGE_SECONDS - 1
    clock.now += 100
    assert progress.eta_seconds() == 0
