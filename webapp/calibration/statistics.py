"""How far a judge agrees with people. Labels are 1 to 5, a judge's rewards are scaled to 0 to 1."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, pvariance

from webapp.core.statistics import cohen_kappa

LEVELS = 5
PASSING_LABEL = 4
RESAMPLES = 2000
CONFIDENCE = 0.95
CHARACTERS = 100  # the length slope is per so many


@dataclass(frozen=True)
class Interval:
    """An estimate with its percentile bootstrap interval; ``None`` where it is not defined."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Judged:
    """One answer: a person's label, the judge's reward from 0 to 1, and its length in characters."""

    label: int
    reward: float
    length: int


def weighted_kappa(first: Sequence[int], second: Sequence[int]) -> float | None:
    """Cohen's kappa with quadratic weights (Cohen 1968): 1 - mean square seen / expected by chance.

    Of independent draws the expected square is the sum of variances and the square of the means' distance.
    """
    seen = fmean((a - b) ** 2 for a, b in zip(first, second, strict=True))
    chance = pvariance(first) + pvariance(second) + (fmean(first) - fmean(second)) ** 2
    return None if chance == 0 else 1 - seen / chance


def level(reward: float) -> int:
    """The label that a reward from 0 to 1 amounts to."""
    return 1 + min(LEVELS - 1, max(0, round(reward * (LEVELS - 1))))


def share(label: int) -> float:
    """A label from 1 to 5 as a share from 0 to 1."""
    return (label - 1) / (LEVELS - 1)


def agreed(judged: Sequence[Judged], threshold: float) -> float:
    """Share of answers that person and judge both pass or both fail; chance is not taken off."""
    return fmean((one.label >= PASSING_LABEL) == (one.reward > threshold) for one in judged)


def length_slope(judged: Sequence[Judged]) -> float | None:
    """By how much the judge's reward exceeds the person's, per 100 characters: the least-squares slope.

    Above 0 the judge pays for length what people do not.
    """
    lengths = [one.length / CHARACTERS for one in judged]
    excess = [one.reward - share(one.label) for one in judged]
    middle, mean_excess = fmean(lengths), fmean(excess)
    spread = sum((length - middle) ** 2 for length in lengths)
    if spread == 0:
        return None
    return sum((x - middle) * (y - mean_excess) for x, y in zip(lengths, excess, strict=True)) / spread


def agreement(judged: Sequence[Judged], threshold: float) -> float | None:
    """Cohen's kappa of passing: people pass from 4 up, the judge above ``threshold``."""
    return cohen_kappa(
        [one.label >= PASSING_LABEL for one in judged], [one.reward > threshold for one in judged]
    )


def levels_agreement(judged: Sequence[Judged]) -> float | None:
    """Quadratic-weighted kappa on the five levels."""
    return weighted_kappa([one.label for one in judged], [level(one.reward) for one in judged])


def interval(judged: Sequence[Judged], estimate: Callable[[Sequence[Judged]], float | None]) -> Interval:
    """The estimate with a percentile bootstrap over answers (Efron 1979); the same data give the same."""
    dice = random.Random(0)  # noqa: S311 -- resampling
    drawn = [estimate(dice.choices(judged, k=len(judged))) for _ in range(RESAMPLES)]
    known = sorted(value for value in drawn if value is not None)
    if not known:
        return Interval(estimate(judged), None, None)
    tail = (1 - CONFIDENCE) / 2
    low, high = known[int(tail * len(known))], known[min(len(known) - 1, int((1 - tail) * len(known)))]
    return Interval(estimate(judged), low, high)
