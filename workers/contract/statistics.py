"""Statistics of the engine and of pages: the fewest rows for an interval, and Wilson's interval."""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist

from workers.contract.events import Interval

# Percentile bootstraps of fewer rows miss the truth several times as often as they claim, and those of equal
# rows have no width (Hesterberg 2015; measured in docs/statistics.md).
FEWEST_ROWS = 20


def allow_interval(rows: int) -> bool:
    """Return True if this many rows allow a bootstrap interval. With fewer, none is made anywhere."""
    return rows >= FEWEST_ROWS


def wilson(count: int, total: int, confidence: float) -> Interval:
    """Return a share with Wilson's score interval (1927), valid for few rows and for shares near 0."""
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share, correction = count / total, z * z / total
    middle = (share + correction / 2) / (1 + correction)
    half = z * sqrt(share * (1 - share) / total + correction / total / 4) / (1 + correction)
    return Interval(
        mean=share, low=min(max(middle - half, 0.0), share), high=max(min(middle + half, 1.0), share)
    )
