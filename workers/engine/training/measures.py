"""Formulas over the answers of a step: how alike they are, how repetitive, what length does to reward."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import astuple, dataclass
from math import sqrt
from statistics import fmean, pstdev

NGRAM = 3
OPENING_CHARACTERS = 40


def repetition(ids: Sequence[int]) -> float | None:
    """1 - distinct-3 of one answer's tokens (distinct-n: arXiv 1510.03055); ``None`` below two triples."""
    triples = list(zip(ids, ids[1:], ids[2:], strict=False))
    return 1 - len(set(triples)) / len(triples) if len(triples) > 1 else None


def opening(text: str) -> str:
    """How an answer begins, whatever its white space."""
    return " ".join(text.split())[:OPENING_CHARACTERS]


def most_common_share(values: Iterable[Hashable]) -> float | None:
    """The share of the most common value; ``None`` of nothing."""
    counts = Counter(values)
    return max(counts.values()) / counts.total() if counts else None


def known_mean(values: Iterable[float | None]) -> float | None:
    """The mean of what is known; ``None`` of nothing."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def within_group_std(groups: Sequence[int], rewards: Sequence[float | None]) -> float | None:
    """Mean over groups of the deviation (of a whole population) of their rewards."""
    members: dict[int, list[float]] = {}
    for group, reward in zip(groups, rewards, strict=True):
        if reward is not None:
            members.setdefault(group, []).append(reward)
    return fmean(pstdev(each) for each in members.values()) if members else None


@dataclass(frozen=True)
class Moments:
    """Sums over answers, from which length and reward are held against each other."""

    number: float = 0.0
    length: float = 0.0
    reward: float = 0.0
    length_squared: float = 0.0
    reward_squared: float = 0.0
    product: float = 0.0

    @classmethod
    def of(cls, pairs: Iterable[tuple[float, float]]) -> Moments:
        """From (length, reward) pairs."""
        rows = [(1.0, x, y, x * x, y * y, x * y) for x, y in pairs]
        return cls(*map(sum, zip(*rows, strict=True))) if rows else cls()

    @classmethod
    def total(cls, moments: Iterable[Moments]) -> Moments:
        """Of all the answers together."""
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
        """Pearson's, of length and reward; ``None`` where either is the same for all."""
        if not self.number or not _varies(self.length_spread, self.length_squared):
            return None
        if not _varies(self.reward_spread, self.reward_squared):
            return None
        return max(-1.0, min(1.0, self.shared / sqrt(self.length_spread * self.reward_spread)))


def _varies(spread: float, squares: float) -> bool:
    """Whether a sum of squared deviations is more than what rounding leaves of equal values."""
    return spread > 1e-9 * squares


def gains(early: Moments, late: Moments) -> tuple[float, float | None]:
    """How much more late answers earn than early ones: as they are, and at equal length.

    At equal length: the coefficient of "late" in the regression of reward on "late" and length (analysis of
    covariance), which is the raw gain less the slope within both periods times the change of mean length.
    ``None`` where no period has answers of different lengths.
    """
    raw = late.mean_reward - early.mean_reward
    spread = early.length_spread + late.length_spread
    if not _varies(spread, early.length_squared + late.length_squared):
        return raw, None
    slope = (early.shared + late.shared) / spread
    return raw, raw - slope * (late.mean_length - early.mean_length)
