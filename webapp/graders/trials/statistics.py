"""Statistics of rewards: how well a grader distinguishes answers. A group is the answers to one prompt.

A reward that is missing (``None``) was not graded. As in training, a group with a missing reward says
nothing about spread: it is left out there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from statistics import fmean, stdev

Group = Sequence[float | None]
Pair = tuple[float, float]


@dataclass(frozen=True)
class Discrimination:
    """``mean`` reward; ``spread``, the mean of the groups' standard deviations; shares between 0 and 1."""

    groups: int
    answers: int
    mean: float | None
    spread: float | None
    no_signal: float | None
    errors: float | None


@dataclass(frozen=True)
class Agreement:
    """``alike``: share of pairs that both graders order alike; ``difference``: mean of second minus first."""

    pairs: int
    alike: float | None
    difference: float | None


def measure_discrimination(groups: Sequence[Group]) -> Discrimination:
    """Return how much GRPO could learn from these groups.

    ``spread`` is the mean over whole groups of the sample standard deviation (n - 1), by which advantages
    are scaled; ``no_signal`` the share of whole groups whose rewards are all equal (TRL's
    ``frac_reward_zero_std``); ``errors`` the share of answers that were not graded. A group is whole if it
    has at least two answers and all were graded.
    """
    rewards = [reward for group in groups for reward in group]
    scored = [reward for reward in rewards if reward is not None]
    whole = [scores for group in groups if len(scores := _whole(group)) > 1]
    return Discrimination(
        groups=len(groups),
        answers=len(rewards),
        mean=mean(scored),
        spread=mean([stdev(scores) if len(set(scores)) > 1 else 0.0 for scores in whole]),
        no_signal=mean([float(len(set(scores)) == 1) for scores in whole]),
        errors=1 - len(scored) / len(rewards) if rewards else None,
    )


def _whole(group: Group) -> list[float]:
    return [reward for reward in group if reward is not None] if None not in group else []


def measure_agreement(first: Sequence[Group], second: Sequence[Group]) -> Agreement:
    """Return how similarly two graders order the same answers, group by group.

    With C pairs of answers ordered alike, D ordered opposite and T tied by exactly one grader, ``alike`` is
    (C + T / 2) / (C + D + T): 1 is full agreement, 0.5 none, 0 the opposite. It is (1 + t) / 2 of Kendall's
    t = (C - D) / (C + D + T). Pairs that both tie say nothing and are left out.
    """
    both = [list(_graded_twice(a, b)) for a, b in zip(first, second, strict=True)]
    verdicts = [v for group in both for v in map(_verdict, combinations(group, 2)) if v is not None]
    differences = [b - a for group in both for a, b in group]
    return Agreement(len(verdicts), mean(verdicts), mean(differences))


def _graded_twice(first: Group, second: Group) -> Iterator[Pair]:
    for a, b in zip(first, second, strict=True):
        if a is not None and b is not None:
            yield a, b


def _verdict(pair: tuple[Pair, Pair]) -> float | None:
    """Return 1 if both order the two answers alike, 0 if opposite, 0.5 if one ties, None if both do."""
    (a1, b1), (a2, b2) = pair
    by_first, by_second = (a1 > a2) - (a1 < a2), (b1 > b2) - (b1 < b2)
    return None if not by_first and not by_second else (1 + by_first * by_second) / 2


def mean(values: Iterable[float]) -> float | None:
    """Return the mean; None without values."""
    collected = list(values)
    return fmean(collected) if collected else None


@dataclass(frozen=True)
class Bin:
    """Rewards from ``low`` up to ``high``, which the last bin includes."""

    low: float
    high: float
    count: int


BINS = 10


def find_edges(rewards: Sequence[float]) -> list[float]:
    """Return the borders of ten equal bins from 0 to 1, or wider if rewards lie outside."""
    low, high = min([0.0, *rewards]), max([1.0, *rewards])
    return [low + (high - low) * number / BINS for number in range(BINS)] + [high]


def find_bin(reward: float, edges: Sequence[float]) -> int:
    """Return the index of the bin that holds ``reward``."""
    return next((index for index, high in enumerate(edges[1:-1]) if reward < high), len(edges) - 2)


def build_histogram(rewards: Sequence[float]) -> list[Bin]:
    """Count the rewards in each bin."""
    edges = find_edges(rewards)
    bins = [find_bin(reward, edges) for reward in rewards]
    return [Bin(low, high, bins.count(index)) for index, (low, high) in enumerate(pairwise(edges))]
