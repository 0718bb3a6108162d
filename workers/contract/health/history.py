"""History of a job's metrics, and rises of rewards in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt
from statistics import fmean

EARLY = 5  # first steps, with which later ones are compared
BLOCK = 5  # steps of one mean
CHECKS = 3  # consecutive checks that must agree
WINDOW = 10  # last steps that most rules average over
KEPT = 40  # last steps that rules need
RISE = 0.3  # standard deviations that count as a rise
CLEAR = 4.0  # standard errors that a rise must exceed; high, because rules are checked at every step
NOISE_STEPS = 20  # steps that measure the noise between steps
FLAT = 0.1  # standard deviations that count as no rise
SOLVED = 0.9  # of a right completion's reward: mean reward at which a task counts as solved
CONFIRMED = 0.5  # of the trained reward's rise: rise of the held-out reward that confirms it

REWARD, SPREAD = "reward", "rewards/grader/std"
HELD_OUT, HELD_OUT_SPREAD = "held_out/reward", "held_out/reward_std"


@dataclass(frozen=True)
class Step:
    """The metrics of one optimiser step."""

    number: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class Check:
    """Mean reward of the tuned model on validation rows after ``step``; at step 0 of the base."""

    step: int
    reward: float


@dataclass(frozen=True)
class Limits:
    """Bounds of the team (``contract.spec.AlarmRules``), and the reward of a right completion."""

    least_entropy: float = 1e-4
    no_signal_steps: int = 20
    right_from: float | None = None


@dataclass(frozen=True)
class History:
    """The steps that rules need (``find_needed_steps``), ascending. Stop rules count from ``since`` on."""

    steps: Sequence[Step]
    checks: Sequence[Check] = ()
    limits: Limits = Limits()
    since: int = 0

    @property
    def present(self) -> int:
        """The number of the last step; 0 before the first."""
        return self.steps[-1].number if self.steps else 0

    def last(self, name: str, number: int = WINDOW) -> list[float]:
        """Return the metric's values in the last steps that have it."""
        return [step.values[name] for step in self.steps[-number:] if name in step.values]

    def measured(self, name: str, number: int) -> list[float]:
        """Return the metric's last values, however old: not every step measures everything."""
        return [step.values[name] for step in self.steps if name in step.values][-number:]

    def block(self, name: str, end: int) -> list[float]:
        """Return the metric's values in the ``BLOCK`` steps up to ``end``; for 0, in the first ``EARLY``."""
        numbers = range(end - BLOCK + 1, end + 1) if end else range(1, EARLY + 1)
        return [s.values[name] for s in self.steps if s.number in numbers and name in s.values]

    def early(self, name: str) -> list[float]:
        """Return the metric's values in the job's first steps."""
        return self.block(name, 0)


def find_needed_steps(present: int, check_steps: Sequence[int], limits: Limits) -> set[int]:
    """Return the numbers of the steps that rules need after step ``present``."""
    recent = range(present - max(KEPT, limits.no_signal_steps) + 1, present + 1)
    blocks = [range(step - NOISE_STEPS + 1, step + 1) for step in check_steps[-CHECKS:]]
    numbers = {number for span in (range(1, EARLY + 1), recent, *blocks) for number in span}
    return {number for number in numbers if 0 < number <= present}


@dataclass(frozen=True)
class Rise:
    """Change of a reward from one block of steps to another; ``error`` is its standard error."""

    before: float
    after: float
    deviations: float
    error: float

    @property
    def is_clear(self) -> bool:
        """True if it rose enough to matter, and by more than the chance of the prompts."""
        return self.deviations >= RISE and self.after - self.before > CLEAR * self.error


def scale_change(change: float, *spreads: Sequence[float]) -> float:
    """Divide a change by the greatest of the mean spreads. Without any spread, any change is infinite."""
    spread = max((fmean(values) for values in spreads if values), default=0.0)
    if spread > 0:
        return change / spread
    return change * float("inf") if change else 0.0


def measure_rise(history: History, name: str, spread: str, start: int, end: int) -> Rise | None:
    """Measure the rise between the blocks that end with ``start`` (0: the first steps) and ``end``."""
    before, after = history.block(name, start), history.block(name, end)
    if not before or not after:
        return None
    change = fmean(after) - fmean(before)
    spreads = history.block(spread, start), history.block(spread, end)
    return Rise(
        fmean(before), fmean(after), scale_change(change, *spreads), _standard_error(history, name, end)
    )


def _standard_error(history: History, name: str, end: int) -> float:
    """Return the standard error of the difference of two blocks' means.

    The variance of a step is half the mean squared successive difference (von Neumann 1941), on which a slow
    trend has little influence. Every step has other prompts, so it includes the effect of their choice.
    """
    recent = range(end - NOISE_STEPS + 1, end + 1) if end else range(1, EARLY + 1)
    values = [step.values[name] for step in history.steps if step.number in recent and name in step.values]
    squares = [(after - before) ** 2 for before, after in pairwise(values)]
    return sqrt(fmean(squares) / BLOCK) if squares else 0.0


def measure_trained_rise(history: History, start: int = 0) -> Rise | None:
    """Measure the trained reward's rise since ``start``; ``None`` if the blocks overlap."""
    if history.present - BLOCK < max(start, EARLY):
        return None
    return measure_rise(history, REWARD, SPREAD, start, history.present)


def measure_held_out_rise(history: History, start: int, end: int) -> Rise | None:
    """Measure the held-out reward's rise; ``None`` without a held-out grader."""
    return measure_rise(history, HELD_OUT, HELD_OUT_SPREAD, start, end)


def is_confirmed(history: History) -> bool:
    """Return True if the held-out reward rose with the trained one, which clears a suspicion."""
    trained, held_out = measure_trained_rise(history), measure_held_out_rise(history, 0, history.present)
    if trained is None or held_out is None:
        return False
    return held_out.deviations >= max(FLAT, CONFIRMED * min(trained.deviations, 1.0))


def is_solved(history: History) -> bool:
    """Return True if nearly all completions are right, so that a lack of signal is a success.

    The held-out reward, if there is one, must have risen too: a gamed grader also pays everything.
    """
    rewards, right_from = history.last(REWARD), history.limits.right_from
    if len(rewards) < WINDOW or right_from is None or right_from <= 0:
        return False
    return fmean(rewards) >= SOLVED * right_from and (not history.last(HELD_OUT) or is_confirmed(history))
