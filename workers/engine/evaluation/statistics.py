"""Estimates over rows: pass@k, bootstrap intervals, paired comparison (``docs/statistics.md``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, comb, sqrt

import numpy as np
import numpy.typing as npt

from workers.contract.events import Interval
from workers.contract.statistics import allow_interval

SAME = 1e-9
POWER = 2.8  # standard errors: 80 % power at 5 % two-sided (1.96 + 0.84), arXiv 2411.00640
SMALL_GAIN = 0.02  # "2 points" of a reward from 0 to 1 on pages
CELLS = 4_000_000  # rows x resamples in memory at once

Floats = npt.NDArray[np.float64]


def pass_at_k(samples: int, right: int, k: int) -> float:
    """Return the unbiased probability that one of ``k`` completions is right, from ``right`` of ``samples``.

    1 - C(samples - right, k) / C(samples, k), section 2.1 of arXiv 2107.03374. Needs ``k <= samples``.
    """
    if not 1 <= k <= samples:
        raise ValueError(f"k must lie between 1 and the number of samples {samples}, it is {k}")
    return 1.0 - comb(samples - right, k) / comb(samples, k)


def mean_pass_at_k(counts: Sequence[tuple[int, int]], k: int) -> float | None:
    """Return the mean over the rows (samples, right) with at least ``k`` samples; ``None`` if none has."""
    values = [pass_at_k(samples, right, k) for samples, right in counts if samples >= k]
    return float(np.mean(values)) if values else None


# --- intervals -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Resampling:
    """Percentile bootstrap over rows: completions to one prompt are not independent.

    Means over the same number of rows use the same resamples, so intervals from one ``Resampling`` belong
    together. ``scipy.stats.bootstrap`` draws new resamples at each call, and its results would neither add up
    nor follow from means of columns as those of ``fit_line`` do.
    """

    confidence: float
    resamples: int
    seed: int

    def resample_means(self, columns: Floats) -> Floats:
        """Return the means of ``columns`` (rows x columns) over resampled rows: resamples x columns."""
        rows, most = len(columns), max(1, CELLS // len(columns))
        random = np.random.default_rng(self.seed)
        parts = []
        for first in range(0, self.resamples, most):
            size = min(most, self.resamples - first)
            drawn = random.integers(0, rows, (size, rows)) + rows * np.arange(size)[:, None]
            weights = np.bincount(drawn.ravel(), minlength=size * rows).reshape(size, rows)
            parts.append(weights @ columns / rows)
        return np.concatenate(parts)

    def bound(self, estimate: float, draws: Floats, rows: int) -> Interval:
        """Return the estimate with the middle ``confidence`` of its ``draws``; no bounds for too few rows."""
        if not allow_interval(rows):
            return Interval(mean=estimate, low=None, high=None)
        tail = (1.0 - self.confidence) / 2.0
        low, high = np.quantile(draws, [tail, 1.0 - tail])
        return Interval(mean=estimate, low=min(float(low), estimate), high=max(float(high), estimate))

    def estimate_columns(self, columns: Floats) -> list[Interval]:
        """Return mean and interval of each column of ``columns`` (rows x columns)."""
        draws = self.resample_means(columns)
        estimates = columns.mean(axis=0)
        return [
            self.bound(float(mean), draws[:, index], len(columns)) for index, mean in enumerate(estimates)
        ]

    def __call__(self, values: Sequence[float]) -> Interval:
        """Return mean and interval of one number per row."""
        if not values:
            raise ValueError("a mean over no rows does not exist")
        return self.estimate_columns(np.asarray(values, dtype=np.float64)[:, None])[0]


def bootstrap(values: Sequence[float], confidence: float, resamples: int, seed: int) -> Interval:
    """Return the mean with its percentile bootstrap interval; ``values`` holds one number per row."""
    return Resampling(confidence, resamples, seed)(values)


# --- pairs -----------------------------------------------------------------------------------------


def count_wins_ties_losses(changes: Sequence[float]) -> tuple[int, int, int]:
    """Count rows on which tuned is better, equal (within 1e-9) and worse; a change is tuned minus base."""
    differences = np.asarray(changes, dtype=np.float64)
    wins, losses = int((differences > SAME).sum()), int((differences < -SAME).sum())
    return wins, len(differences) - wins - losses, losses


def mcnemar_p_value(only_base: int, only_tuned: int) -> float:
    """Return the two-sided p-value of McNemar's exact test, from the rows on which one side alone is right.

    If neither side were better, each such row would be a fair coin.
    """
    from scipy.stats import binomtest  # here, because it takes most of a second: jobs start without it

    rows = only_base + only_tuned
    return float(binomtest(only_base, rows).pvalue) if rows else 1.0


def find_crossover(base: Sequence[float], tuned: Sequence[float]) -> int | None:
    """Return the smallest k at which pass@k of base exceeds that of tuned after having been below it.

    ``None`` if tuned stays ahead or never was.
    """
    led = False
    for k, (before, after) in enumerate(zip(base, tuned, strict=True), start=1):
        if led and before > after + SAME:
            return k
        led = led or after > before + SAME
    return None


def chance_of_none_right(drawn: int, others: int, right: int) -> float:
    """Return the chance that none of ``right`` right completions is among ``drawn`` of ``drawn + others``.

    That is how often a row counts as lost (or gained) although both sides are equally good at it:
    C(others, right) / C(drawn + others, right). A row without right completions is neither lost nor gained.
    """
    return comb(others, right) / comb(drawn + others, right) if right else 0.0


@dataclass(frozen=True)
class Line:
    """A least-squares line: the value at 0 with its interval, and the rise per unit."""

    intercept: Interval
    slope: float


def fit_line(x: Sequence[float], y: Sequence[float], interval: Resampling) -> Line | None:
    """Regress ``y`` on ``x``, one of each per row; the interval comes from resampled rows.

    ``None`` for fewer than 3 rows and if ``x`` does not vary.
    """
    xs, ys = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if len(xs) < 3 or np.ptp(xs) < SAME:
        return None
    # Standardised, or the sums of squares of large values would lose the precision that slopes need.
    centre, scale = xs.mean(), xs.std()
    unit = (xs - centre) / scale
    columns = np.stack([unit, ys, unit * unit, unit * ys], axis=1)
    intercept, slope = _fit(columns.mean(axis=0)[None], -centre / scale)
    draws, _ = _fit(interval.resample_means(columns), -centre / scale)
    return Line(interval.bound(float(intercept[0]), draws, len(xs)), float(slope[0]) / scale)


def _fit(means: Floats, at: float) -> tuple[Floats, Floats]:
    """Return values at ``at`` and slopes from means of x, y, x² and xy, without draws of constant x."""
    x, y, squares, products = means.T
    spread = squares - x * x
    varies = spread > SAME
    slope = (products - x * y)[varies] / spread[varies]
    return y[varies] + slope * (at - x[varies]), slope


# --- statistical power -----------------------------------------------------------------------------


def detectable_gain(std: float, rows: int) -> float:
    """Return the smallest mean difference that ``rows`` rows detect with 80 % power: 2.8 sd / sqrt(rows).

    ``std`` is the standard deviation of the rows' differences.
    """
    return POWER * std / sqrt(max(rows, 1))


def rows_to_detect(std: float, gain: float) -> int:
    """Return how many rows detect a mean difference of ``gain`` with 80 % power."""
    return max(1, ceil((POWER * std / gain) ** 2))
