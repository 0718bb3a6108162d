"""Formulas over the completions of a step: similarity, repetition, and length against reward."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import astuple, dataclass
from math import sqrt
from statistics import fmean, pstdev

NGRAM = 3
OPENING_CHARACTERS = 40


def repetition(ids: Sequence[int]) -> float | None:
    """Return 1 - distinct-3 of a completion's tokens (arXiv 1510.03055); ``None`` below two triples."""
    triples = list(zip(ids, ids[1:], ids[2:], strict=False))
    return 1 - len(set(triples)) / len(triples) if len(triples) > 1 else None


def opening(text: str) -> str:
    """Return the first characters of a completion, with white space normalised."""
    return " ".join(text.split())[:OPENING_CHARACTERS]


def most_common_share(values: Iterable[Hashable]) -> float | None:
    """Return the share of the most common value; ``None`` without values."""
    counts = Counter(values)
    return max(counts.values()) / counts.total() if counts else None


def known_mean(values: Iterable[float | None]) -> float | None:
    """Return the mean of the values that are not ``None``; ``None`` if there are none."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def within_group_std(groups: Sequence[int], rewards: Sequence[float | None]) -> float | None:
    """Return the mean over groups of the standard deviation (population) of their rewards."""
    members: dict[int, list[float]] = {}
    for group, reward in zip(groups, rewards, strict=True):
        if reward is not None:
            members.setdefault(group, []).append(reward)
    return fmean(pstdev(each) for each in members.values()) if members else None


@dataclass(frozen=True)
class Moments:
    """Sums over completions, from which means, spreads and the correlation of length and reward follow."""

    number: float = 0.0
    length: float = 0.0
    reward: float = 0.0
    length_squared: float = 0.0
    reward_squared: float = 0.0
    product: float = 0.0

    @classmethod
    def from_pairs(cls, pairs: Iterable[tuple[float, float]]) -> Moments:
        """Sum (length, reward) pairs."""
        rows = [(1.0, x, y, x * x, y * y, x * y) for x, y in pairs]
        return cls(*map(sum, zip(*rows, strict=True))) if rows else cls()

    @classmethod
    def add_up(cls, moments: Iterable[Moments]) -> Moments:
        """Add up several sums."""
        rows = [astuple(each) for each in moments]
        return cls(*map(sum, zip(*rows, strict=True))) if rows else cls()

    @property
    def mean_length(self) -> float:
        return self.length / self.number

    @property
    def mean_reward(self) -> float:
        return self.reward / self.number

    @property
    def length_spread(self) -> float:
        """Sum of squared deviations of length."""
        return self.length_squared - self.length * self.mean_length

    @property
    def reward_spread(self) -> float:
        """Sum of squared deviations of reward."""
        return self.reward_squared - self.reward * self.mean_reward

    @property
    def shared(self) -> float:
        """Sum of products of both deviations."""
        return self.product - self.length * self.mean_reward

    @property
    def correlation(self) -> float | None:
        """Pearson's correlation of length and reward; ``None`` if either is constant."""
        if not self.number or not _varies(self.length_spread, self.length_squared):
            return None
        if not _varies(self.reward_spread, self.reward_squared):
            return None
        return max(-1.0, min(1.0, self.shared / sqrt(self.length_spread * self.reward_spread)))


def _varies(spread: float, squares: float) -> bool:
    """Return True if a sum of squared deviations exceeds the rounding error of equal values."""
    return spread > 1e-9 * squares


def gains(early: Moments, late: Moments) -> tuple[float, float | None]:
    """Return how much more late completions earn than early ones: raw, and at equal length.

    At equal length: the coefficient of "late" in the regression of reward on "late" and length (analysis of
    covariance), which is the raw gain less the slope within both periods times the change of mean length.
    ``None`` if no period has completions of different lengths.
    """
    raw = late.mean_reward - early.mean_reward
    spread = early.length_spread + late.length_spread
    if not _varies(spread, early.length_squared + late.length_squared):
        return raw, None
    slope = (early.shared + late.shared) / spread
    return raw, raw - slope * (late.mean_length - early.mean_length)
