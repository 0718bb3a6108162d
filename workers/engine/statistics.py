"""Estimates over rows: pass@k, bootstrap intervals, paired comparison. NumPy only."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb

import numpy as np
import numpy.typing as npt

from workers.events import Interval


def pass_at_k(samples: int, right: int, k: int) -> float:
    """Probability that at least one of ``k`` answers is right, unbiased from ``right`` of ``samples``.

    1 - C(samples - right, k) / C(samples, k), section 2.1 of arXiv 2107.03374. Needs ``k <= samples``.
    """
    if not 1 <= k <= samples:
        raise ValueError(f"k must lie between 1 and the number of samples {samples}, it is {k}")
    return 1.0 - comb(samples - right, k) / comb(samples, k)


def mean_pass_at_k(counts: Sequence[tuple[int, int]], k: int) -> float | None:
    """Mean over the rows (samples, right) that have at least ``k`` samples; ``None`` if none has."""
    values = [pass_at_k(samples, right, k) for samples, right in counts if samples >= k]
    return float(np.mean(values)) if values else None


def bootstrap(values: Sequence[float], confidence: float, resamples: int, seed: int) -> Interval:
    """Mean with its percentile bootstrap interval; ``values`` holds one number a row.

    Rows are the unit that is drawn again, since answers to one prompt are not independent.
    """
    data: npt.NDArray[np.float64] = np.asarray(values, dtype=np.float64)
    if data.size == 0:
        raise ValueError("a mean over no rows does not exist")
    draws = np.random.default_rng(seed).integers(0, data.size, (resamples, data.size))
    means = data[draws].mean(axis=1)
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(means, [tail, 1.0 - tail])
    mean = float(data.mean())
    return Interval(mean=mean, low=min(float(low), mean), high=max(float(high), mean))


def wins_ties_losses(base: Sequence[float], tuned: Sequence[float]) -> tuple[int, int, int]:
    """On how many rows tuned is better, equal (within 1e-9) and worse."""
    differences = np.asarray(tuned, dtype=np.float64) - np.asarray(base, dtype=np.float64)
    wins, losses = int((differences > 1e-9).sum()), int((differences < -1e-9).sum())
    return wins, len(differences) - wins - losses, losses
