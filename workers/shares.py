"""Shares with their intervals, as the engine and the pages count them."""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist

from workers.events import Interval


def wilson(count: int, of: int, confidence: float) -> Interval:
    """A share with Wilson's score interval (1927), which holds for few rows and for shares near 0."""
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share, room = count / of, z * z / of
    middle = (share + room / 2) / (1 + room)
    half = z * sqrt(share * (1 - share) / of + room / of / 4) / (1 + room)
    return Interval(
        mean=share, low=min(max(middle - half, 0.0), share), high=max(min(middle + half, 1.0), share)
    )
