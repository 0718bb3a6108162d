"""Agreement of a judge and people. Labels are 1 to 5, a judge's rewards are scaled to 0 to 1."""

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
CHARACTERS = 100  # the unit of the length slope


@dataclass(frozen=True)
class Interval:
    """An estimate with its percentile bootstrap interval; ``None`` if it is not defined."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class JudgedAnswer:
    """One answer: a person's label, the judge's reward from 0 to 1, and its length in characters."""

    label: int
    reward: float
    length: int


def weighted_kappa(first: Sequence[int], second: Sequence[int]) -> float | None:
    """Cohen's kappa with quadratic weights (Cohen 1968): 1 - mean square observed / by chance.

    Of independent draws the expected square is the sum of variances and the square of the means' distance.
    """
    observed = fmean((a - b) ** 2 for a, b in zip(first, second, strict=True))
    chance = pvariance(first) + pvariance(second) + (fmean(first) - fmean(second)) ** 2
    return None if chance == 0 else 1 - observed / chance


def to_label(reward: float) -> int:
    """Return the label from 1 to 5 nearest to a reward from 0 to 1."""
    return 1 + min(LEVELS - 1, max(0, round(reward * (LEVELS - 1))))


def to_reward(label: int) -> float:
    """Return the reward from 0 to 1 that a label from 1 to 5 stands for."""
    return (label - 1) / (LEVELS - 1)


def measure_raw_agreement(judged: Sequence[JudgedAnswer], threshold: float) -> float:
    """Return the share of answers that person and judge both pass or both fail, not corrected for chance."""
    return fmean((one.label >= PASSING_LABEL) == (one.reward > threshold) for one in judged)


def measure_length_slope(judged: Sequence[JudgedAnswer]) -> float | None:
    """Return the judge's reward beyond the person's, per 100 characters: the least-squares slope.

    Above 0 the judge rewards length, which people do not. None if all answers are equally long.
    """
    if len({one.length for one in judged}) < 2:
        return None
    lengths = [one.length / CHARACTERS for one in judged]
    excess = [one.reward - to_reward(one.label) for one in judged]
    middle, mean_excess = fmean(lengths), fmean(excess)
    spread = sum((length - middle) ** 2 for length in lengths)
    return sum((x - middle) * (y - mean_excess) for x, y in zip(lengths, excess, strict=True)) / spread


def measure_passing_kappa(judged: Sequence[JudgedAnswer], threshold: float) -> float | None:
    """Return Cohen's kappa of passing: people pass from 4 up, the judge above ``threshold``."""
    return cohen_kappa(
        [one.label >= PASSING_LABEL for one in judged], [one.reward > threshold for one in judged]
    )


def measure_levels_kappa(judged: Sequence[JudgedAnswer]) -> float | None:
    """Return the quadratic-weighted kappa of the five levels."""
    return weighted_kappa([one.label for one in judged], [to_label(one.reward) for one in judged])


def bootstrap_interval(
    judged: Sequence[JudgedAnswer], estimate: Callable[[Sequence[JudgedAnswer]], float | None]
) -> Interval:
    """Return the estimate with a percentile bootstrap over answers (Efron 1979). It is deterministic."""
    dice = random.Random(0)  # noqa: S311 -- resampling
    resampled = [estimate(dice.choices(judged, k=len(judged))) for _ in range(RESAMPLES)]
    known = sorted(value for value in resampled if value is not None)
    if not known:
        return Interval(estimate(judged), None, None)
    tail = (1 - CONFIDENCE) / 2
    low, high = known[int(tail * len(known))], known[min(len(known) - 1, int((1 - tail) * len(known)))]
    return Interval(estimate(judged), low, high)
