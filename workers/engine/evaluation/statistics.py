"""Estimates over rows: pass@k, bootstrap intervals, paired comparison. NumPy only; see docs/statistics.md."""

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
SMALL_GAIN = 0.02  # the 2 points of a reward from 0 to 1 that pages speak of
CELLS = 4_000_000  # rows x resamples held at once

Floats = npt.NDArray[np.float64]


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


# --- intervals -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Resampling:
    """Percentile bootstrap over rows, which are the unit since answers to one prompt are not independent.

    Means of the same number of rows are drawn with the same weights, so that intervals made by one
    ``Resampling`` belong together.
    """

    confidence: float
    resamples: int
    seed: int

    def means(self, columns: Floats) -> Floats:
        """Means of ``columns`` (rows x columns) over rows drawn again: resamples x columns."""
        rows, most = len(columns), max(1, CELLS // len(columns))
        random = np.random.default_rng(self.seed)
        parts = []
        for first in range(0, self.resamples, most):
            size = min(most, self.resamples - first)
            drawn = random.integers(0, rows, (size, rows)) + rows * np.arange(size)[:, None]
            weights = np.bincount(drawn.ravel(), minlength=size * rows).reshape(size, rows)
            parts.append(weights @ columns / rows)
        return np.concatenate(parts)

    def around(self, estimate: float, draws: Floats, rows: int) -> Interval:
        """The estimate with the middle ``confidence`` of its ``draws``; no bounds if the rows are too few."""
        if not allow_interval(rows):
            return Interval(mean=estimate, low=None, high=None)
        tail = (1.0 - self.confidence) / 2.0
        low, high = np.quantile(draws, [tail, 1.0 - tail])
        return Interval(mean=estimate, low=min(float(low), estimate), high=max(float(high), estimate))

    def intervals(self, columns: Floats) -> list[Interval]:
        """Mean and interval of each column of ``columns`` (rows x columns)."""
        draws = self.means(columns)
        estimates = columns.mean(axis=0)
        return [
            self.around(float(mean), draws[:, place], len(columns)) for place, mean in enumerate(estimates)
        ]

    def __call__(self, values: Sequence[float]) -> Interval:
        """Mean and interval of one number a row."""
        if not values:
            raise ValueError("a mean over no rows does not exist")
        return self.intervals(np.asarray(values, dtype=np.float64)[:, None])[0]


def bootstrap(values: Sequence[float], confidence: float, resamples: int, seed: int) -> Interval:
    """Mean with its percentile bootstrap interval; ``values`` holds one number a row."""
    return Resampling(confidence, resamples, seed)(values)


# --- pairs -----------------------------------------------------------------------------------------


def wins_ties_losses(changes: Sequence[float]) -> tuple[int, int, int]:
    """On how many rows tuned is better, equal (within 1e-9) and worse; ``changes`` are tuned minus base."""
    differences = np.asarray(changes, dtype=np.float64)
    wins, losses = int((differences > SAME).sum()), int((differences < -SAME).sum())
    return wins, len(differences) - wins - losses, losses


def mcnemar(only_base: int, only_tuned: int) -> float:
    """Two-sided p-value of McNemar's exact test, from the rows on which just one side is right.

    If neither side were better, each such row would be a fair coin: twice the smaller binomial tail, at most
    1. Rows on which both are right or both wrong say nothing about the difference.
    """
    rows = only_base + only_tuned
    tail = term = 1
    for wrong in range(min(only_base, only_tuned)):
        term = term * (rows - wrong) // (wrong + 1)
        tail += term
    return float(min(1.0, 2 * tail / 2**rows))


def crossover(base: Sequence[float], tuned: Sequence[float]) -> int | None:
    """The smallest k at which base's pass@k passes tuned's, having been below it; from k = 1 on.

    ``None`` if tuned stays ahead or never was.
    """
    led = False
    for k, (before, after) in enumerate(zip(base, tuned, strict=True), start=1):
        if led and before > after + SAME:
            return k
        led = led or after > before + SAME
    return None


def none_right_by_chance(drawn: int, others: int, right: int) -> float:
    """Chance that none of ``right`` right answers is among ``drawn``, dealt blindly to ``drawn + others``.

    So often a row counts as lost (or gained) though both sides are equally good at it. C(others, right) /
    C(drawn + others, right); a row without right answers is neither.
    """
    return comb(others, right) / comb(drawn + others, right) if right else 0.0


@dataclass(frozen=True)
class Line:
    """A least-squares line: the value at 0 with its interval, and the rise by each unit."""

    intercept: Interval
    slope: float


def line(x: Sequence[float], y: Sequence[float], interval: Resampling) -> Line | None:
    """``y`` regressed on ``x``, one of each a row; the interval comes from drawing rows again.

    ``None`` for fewer than 3 rows and where ``x`` does not vary: then there is no line to draw.
    """
    across, up = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if len(across) < 3 or np.ptp(across) < SAME:
        return None
    centre, scale = across.mean(), across.std()
    unit = (across - centre) / scale
    columns = np.stack([unit, up, unit * unit, unit * up], axis=1)
    intercept, slope = _fit(columns.mean(axis=0)[None], -centre / scale)
    drawn, _ = _fit(interval.means(columns), -centre / scale)
    return Line(interval.around(float(intercept[0]), drawn, len(across)), float(slope[0]) / scale)


def _fit(means: Floats, place: float) -> tuple[Floats, Floats]:
    """Heights at ``place`` and slopes from means of x, y, x² and xy; draws with a constant x fall out."""
    x, y, squares, products = means.T
    spread = squares - x * x
    kept = spread > SAME
    slope = (products - x * y)[kept] / spread[kept]
    return y[kept] + slope * (place - x[kept]), slope


# --- how much a test can show ----------------------------------------------------------------------


def detectable(std: float, rows: int) -> float:
    """The smallest mean difference that ``rows`` rows show with 80 % power: 2.8 sd / sqrt(rows).

    ``std`` is the standard deviation of the rows' differences.
    """
    return POWER * std / sqrt(max(rows, 1))


def rows_to_detect(std: float, gain: float) -> int:
    """How many rows would show a mean difference of ``gain`` with 80 % power."""
    return max(1, ceil((POWER * std / gain) ** 2))
