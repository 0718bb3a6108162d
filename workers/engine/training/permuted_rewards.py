"""Rewards of a placebo: those of a step, dealt out again at random among its answers."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random


def dealt(rewards: Sequence[float | None], tasks: Sequence[str], seed: int, step: int) -> list[float | None]:
    """The step's known rewards permuted among the answers of the same task; missing ones stay missing.

    The rewards are the true ones, so their distribution is that of the real job, and so is their mean; what
    training does with them beyond that is no learning (random rewards raise some models' scores, arXiv
    2506.10947). The permutation depends on ``seed`` and ``step`` alone: a resumed job deals the same.
    """
    result = list(rewards)
    for task in sorted(set(tasks)):
        places = [at for at, own in enumerate(tasks) if own == task and rewards[at] is not None]
        order = Random(f"placebo {seed} {step} {task}").sample(places, len(places))  # noqa: S311
        for place, taken in zip(places, order, strict=True):
            result[place] = rewards[taken]
    return result
