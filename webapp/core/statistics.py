"""Statistics that several apps use."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import lru_cache
from statistics import fmean, quantiles

from workers.contract.statistics import allow_interval

RESAMPLES = 2000


@lru_cache(maxsize=1024)
def bootstrap_mean(values: tuple[float, ...]) -> tuple[float, float | None, float | None]:
    """Return the mean of one value per row, and its 95 % percentile bootstrap interval.

    The bounds are None if the rows are too few (``allow_interval``).
    """
    if not allow_interval(len(values)):
        return fmean(values), None, None
    draw = random.Random(0)  # noqa: S311 -- the same page shows the same interval
    count = len(values)
    means = [fmean(draw.choices(values, k=count)) for _ in range(RESAMPLES)]
    cuts = quantiles(means, n=40, method="inclusive")
    return fmean(values), cuts[0], cuts[-1]


def cohen_kappa(first: Sequence[bool], second: Sequence[bool]) -> float | None:
    """Return Cohen's kappa, (p_o - p_e) / (1 - p_e) (Cohen 1960); None if p_e is 1."""
    agreed = fmean(a == b for a, b in zip(first, second, strict=True))
    yes = fmean(first), fmean(second)
    chance = yes[0] * yes[1] + (1 - yes[0]) * (1 - yes[1])
    return None if chance == 1 else (agreed - chance) / (1 - chance)
