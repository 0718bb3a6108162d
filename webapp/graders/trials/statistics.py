"""How well a grader tells answers apart. Rewards come in groups: the answers to one prompt.

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


def discrimination(groups: Sequence[Group]) -> Discrimination:
    """What GRPO could learn from these groups.

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


def agreement(first: Sequence[Group], second: Sequence[Group]) -> Agreement:
    """How alike two graders order the same answers, group by group.

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
    """1 if both order the two answers alike, 0 if opposite, a half if one ties, None if both do."""
    (a1, b1), (a2, b2) = pair
    by_first, by_second = (a1 > a2) - (a1 < a2), (b1 > b2) - (b1 < b2)
    return None if not by_first and not by_second else (1 + by_first * by_second) / 2


def mean(values: Iterable[float]) -> float | None:
    """None of nothing."""
    collected = list(values)
    return fmean(collected) if collected else None


@dataclass(frozen=True)
class Bin:
    """Rewards from ``low`` up to ``high``, which the last bin includes."""

    low: float
    high: float
    count: int


BINS = 10


def edges(rewards: Sequence[float]) -> list[float]:
    """The borders of ten equal bins over 0 to 1, or wider where rewards lie outside."""
    low, high = min([0.0, *rewards]), max([1.0, *rewards])
    return [low + (high - low) * number / BINS for number in range(BINS)] + [high]


def bin_of(reward: float, borders: Sequence[float]) -> int:
    """The number of the bin that holds ``reward``."""
    return next((n for n, high in enumerate(borders[1:-1]) if reward < high), len(borders) - 2)


def histogram(rewards: Sequence[float]) -> list[Bin]:
    """How many rewards lie in each bin."""
    borders = edges(rewards)
    places = [bin_of(reward, borders) for reward in rewards]
    return [Bin(low, high, places.count(n)) for n, (low, high) in enumerate(pairwise(borders))]
