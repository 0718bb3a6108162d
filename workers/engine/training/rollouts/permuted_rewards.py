"""Rewards of a placebo: those of a step, permuted among its completions."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random


def permute(
    rewards: Sequence[float | None], tasks: Sequence[str], seed: int, step: int
) -> list[float | None]:
    """Permute the step's rewards among the completions of each task; ``None`` stays in its position.

    The rewards are the true ones, so their mean and distribution are those of the real job. Whatever training
    gains from them is not learning (random rewards raise the scores of some models, arXiv 2506.10947). The
    permutation depends on ``seed`` and ``step`` alone: a resumed job permutes in the same way.
    """
    result = list(rewards)
    for task in sorted(set(tasks)):
        indices = [i for i, own in enumerate(tasks) if own == task and rewards[i] is not None]
        order = Random(f"placebo {seed} {step} {task}").sample(indices, len(indices))  # noqa: S311
        for index, source in zip(indices, order, strict=True):
            result[index] = rewards[source]
    return result
