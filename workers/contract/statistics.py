"""Intervals as the engine and the pages make them: which rows allow one, and shares with theirs."""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist

from workers.contract.events import Interval

# Percentile bootstraps of fewer rows miss the truth several times as often as they claim, and those of rows
# that are alike have no width (Hesterberg 2015; measured in docs/statistics.md).
FEWEST_ROWS = 20


def allow_interval(rows: int) -> bool:
    """Return whether so many rows allow a bootstrap interval. Below, none is made or drawn anywhere."""
    return rows >= FEWEST_ROWS


def wilson(count: int, of: int, confidence: float) -> Interval:
    """A share with Wilson's score interval (1927), which holds for few rows and for shares near 0."""
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share, room = count / of, z * z / of
    middle = (share + room / 2) / (1 + room)
    half = z * sqrt(share * (1 - share) / of + room / of / 4) / (1 + room)
    return Interval(
        mean=share, low=min(max(middle - half, 0.0), share), high=max(min(middle + half, 1.0), share)
    )
