"""The numbers that rules look at, and how far a reward rose among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt
from statistics import fmean

EARLY = 5  # the first steps, which later ones are held against
BLOCK = 5  # steps of which one mean is taken
CHECKS = 3  # checks in a row that must agree
WINDOW = 10  # last steps that most rules average over
KEPT = 40  # last steps that rules look at
RISE = 0.3  # standard deviations that count as a rise
CLEAR = 4.0  # standard errors that a rise must exceed, since the rules look at every step
NOISE_STEPS = 20  # steps from which the noise between steps is taken
FLAT = 0.1  # standard deviations that count as no rise
SOLVED = 0.9  # of the reward of a right answer: mean reward at which a task counts as solved
CONFIRMED = 0.5  # of the trained reward's rise, which the held-out grader must show to confirm it

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
    """The bounds that a team chooses (``contract.spec.AlarmRules``), and the reward of a right answer."""

    least_entropy: float = 1e-4
    no_signal_steps: int = 20
    right_from: float | None = None


@dataclass(frozen=True)
class History:
    """The steps that rules look at, rising (``needed`` says which). Stops count steps after ``since``."""

    steps: Sequence[Step]
    checks: Sequence[Check] = ()
    limits: Limits = Limits()
    since: int = 0

    @property
    def present(self) -> int:
        """The number of the last step; 0 before the first."""
        return self.steps[-1].number if self.steps else 0

    def last(self, name: str, number: int = WINDOW) -> list[float]:
        """The metric's values in the last steps, where they have it."""
        return [step.values[name] for step in self.steps[-number:] if name in step.values]

    def measured(self, name: str, number: int) -> list[float]:
        """The metric's last values, from however many steps ago: not every step measures everything."""
        return [step.values[name] for step in self.steps if name in step.values][-number:]

    def block(self, name: str, end: int) -> list[float]:
        """The metric's values in the ``BLOCK`` steps up to ``end``; at 0, in the first ``EARLY`` ones."""
        wanted = range(end - BLOCK + 1, end + 1) if end else range(1, EARLY + 1)
        return [s.values[name] for s in self.steps if s.number in wanted and name in s.values]

    def early(self, name: str) -> list[float]:
        """The metric's values in the job's first steps."""
        return self.block(name, 0)


def needed(present: int, check_steps: Sequence[int], limits: Limits) -> set[int]:
    """The numbers of the steps that rules look at after step ``present``."""
    kept = range(present - max(KEPT, limits.no_signal_steps) + 1, present + 1)
    blocks = [range(step - NOISE_STEPS + 1, step + 1) for step in check_steps[-CHECKS:]]
    wanted = {number for numbers in (range(1, EARLY + 1), kept, *blocks) for number in numbers}
    return {number for number in wanted if 0 < number <= present}


@dataclass(frozen=True)
class Rise:
    """How a reward went from one block of steps to another; ``error`` is the change's standard error."""

    before: float
    after: float
    deviations: float
    error: float

    @property
    def clear(self) -> bool:
        """Whether it rose, by enough to matter and by more than the luck of which prompts came."""
        return self.deviations >= RISE and self.after - self.before > CLEAR * self.error


def in_deviations(change: float, *spreads: Sequence[float]) -> float:
    """A change by the greatest of the mean spreads. Of rewards without any spread, any change is infinite."""
    spread = max((fmean(values) for values in spreads if values), default=0.0)
    if spread > 0:
        return change / spread
    return change * float("inf") if change else 0.0


def rise(history: History, name: str, spread: str, start: int, end: int) -> Rise | None:
    """From the block that ends with step ``start`` (0: the first steps) to that of ``end``."""
    before, after = history.block(name, start), history.block(name, end)
    if not before or not after:
        return None
    change = fmean(after) - fmean(before)
    spreads = history.block(spread, start), history.block(spread, end)
    return Rise(fmean(before), fmean(after), in_deviations(change, *spreads), _error(history, name, end))


def _error(history: History, name: str, end: int) -> float:
    """Standard error of the difference of two blocks' means.

    The variance of a step is half the mean squared successive difference (von Neumann 1941), which a slow
    trend hardly moves. Every step has other prompts, so it holds what their choice does to the mean.
    """
    recent = range(end - NOISE_STEPS + 1, end + 1) if end else range(1, EARLY + 1)
    values = [step.values[name] for step in history.steps if step.number in recent and name in step.values]
    squares = [(after - before) ** 2 for before, after in pairwise(values)]
    return sqrt(fmean(squares) / BLOCK) if squares else 0.0


def trained_rise(history: History, start: int = 0) -> Rise | None:
    """The trained reward's from the block of ``start`` to the present one, if the two lie apart."""
    if history.present - BLOCK < max(start, EARLY):
        return None
    return rise(history, REWARD, SPREAD, start, history.present)


def held_out_rise(history: History, start: int, end: int) -> Rise | None:
    """The held-out grader's on the same rollouts; ``None`` without such a grader."""
    return rise(history, HELD_OUT, HELD_OUT_SPREAD, start, end)


def confirmed(history: History) -> bool:
    """Whether the held-out grader has risen with the trained reward, which clears a suspicion."""
    trained, held_out = trained_rise(history), held_out_rise(history, 0, history.present)
    if trained is None or held_out is None:
        return False
    return held_out.deviations >= max(FLAT, CONFIRMED * min(trained.deviations, 1.0))


def solved(history: History) -> bool:
    """Whether nearly all answers are right, so that a lack of signal is a success and no warning.

    Where a held-out grader watches, it must have risen too: a grader that is gamed pays everything as well.
    """
    rewards, right_from = history.last(REWARD), history.limits.right_from
    if len(rewards) < WINDOW or right_from is None or right_from <= 0:
        return False
    return fmean(rewards) >= SOLVED * right_from and (not history.last(HELD_OUT) or confirmed(history))
