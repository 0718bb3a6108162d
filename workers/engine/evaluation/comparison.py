"""Comparison of base and tuned, row by row: graded completions in, ``contract.events.Comparison`` out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from workers.contract.events import (
    Comparison,
    Coverage,
    EvaluationSample,
    LengthMatched,
    McNemar,
    PairedPoint,
    PassCurves,
)
from workers.contract.statistics import wilson
from workers.engine.evaluation.statistics import (
    SAME,
    SMALL_GAIN,
    Floats,
    Resampling,
    chance_of_none_right,
    detectable_gain,
    find_crossover,
    fit_line,
    mcnemar_p_value,
    pass_at_k,
    rows_to_detect,
)

Samples = Sequence[EvaluationSample]


def row_reward(row: Samples) -> float | None:
    """Return the mean reward of a row's graded completions; ``None`` if no grading succeeded."""
    rewards = [sample.reward for sample in row if sample.reward is not None]
    return sum(rewards) / len(rewards) if rewards else None


def count_graded(row: Samples) -> int:
    """Return how many completions have a grade."""
    return sum(sample.reward is not None for sample in row)


def passes(sample: EvaluationSample, threshold: float) -> bool:
    """Return True if the completion counts as right. One without a grade does not."""
    return sample.reward is not None and sample.reward >= threshold


def count_right(row: Samples, threshold: float) -> int:
    """Return how many completions count as right."""
    return sum(passes(sample, threshold) for sample in row)


@dataclass(frozen=True)
class Pair:
    """One row's completions by both sides, each side with at least one grade."""

    base: Samples
    tuned: Samples
    threshold: float

    @property
    def change(self) -> float:
        """Change of the mean reward, tuned minus base."""
        before, after = row_reward(self.base), row_reward(self.tuned)
        assert before is not None, "a pair has grades of the base"
        assert after is not None, "a pair has grades of the tuned model"
        return after - before

    @property
    def longer(self) -> float:
        """Change of the mean length in tokens, tuned minus base."""
        base, tuned = (sum(s.length for s in side) / len(side) for side in (self.base, self.tuned))
        return tuned - base

    @property
    def graded(self) -> tuple[int, int]:
        """Graded completions of base and of tuned."""
        return count_graded(self.base), count_graded(self.tuned)

    @property
    def right(self) -> tuple[int, int]:
        """Right completions of base and of tuned."""
        return count_right(self.base, self.threshold), count_right(self.tuned, self.threshold)


def pair_rows(base: Sequence[Samples], tuned: Sequence[Samples], threshold: float) -> list[Pair]:
    """Return the rows that have a grade on both sides."""
    return [
        Pair(before, after, threshold)
        for before, after in zip(base, tuned, strict=True)
        if count_graded(before) and count_graded(after)
    ]


def compare_pairs(pairs: list[Pair], interval: Resampling) -> Comparison | None:
    """Return the whole comparison of these rows; ``None`` without any."""
    if not pairs:
        return None
    changes = [pair.change for pair in pairs]
    std = float(np.std(changes, ddof=1)) if len(changes) > 1 else 0.0
    spread = std > SAME  # without spread the formula would claim to detect any gain
    return Comparison(
        rows=len(pairs),
        mcnemar=compare_first_completions(pairs),
        curves=compare_pass_curves(pairs, interval),
        coverage=count_coverage(pairs, interval.confidence),
        length_matched=match_length(pairs, interval),
        deviation=std if len(changes) > 1 else None,
        detectable=detectable_gain(std, len(pairs)) if spread else None,
        rows_for_2_points=rows_to_detect(std, SMALL_GAIN) if spread else None,
    )


def compare_first_completions(pairs: list[Pair]) -> McNemar:
    """Return McNemar's table of each side's first completion: one trial per row and side.

    Rows whose first completion has no grade on either side are left out.
    """
    cells = [
        (passes(pair.base[0], pair.threshold), passes(pair.tuned[0], pair.threshold))
        for pair in pairs
        if pair.base[0].reward is not None and pair.tuned[0].reward is not None
    ]
    only_base, only_tuned = cells.count((True, False)), cells.count((False, True))
    return McNemar(
        both=cells.count((True, True)),
        only_base=only_base,
        only_tuned=only_tuned,
        neither=cells.count((False, False)),
        p_value=mcnemar_p_value(only_base, only_tuned),
    )


def compare_pass_curves(pairs: list[Pair], interval: Resampling) -> PassCurves | None:
    """Return both pass@k curves, on the same rows for every k, so that they rise and can be subtracted.

    Rows with fewer than half of their completions graded are left out. The row with the fewest grades of the
    others ends the curve.
    """
    complete = [
        pair for pair in pairs if min(pair.graded) >= ceil(max(map(len, (pair.base, pair.tuned))) / 2)
    ]
    most = min((min(pair.graded) for pair in complete), default=0)
    if not most:
        return None
    base, tuned = (_tabulate_pass_at_k(complete, side, most) for side in (0, 1))
    estimates = interval.estimate_columns(np.concatenate([base, tuned, tuned - base], axis=1))
    columns = zip(estimates[:most], estimates[most : 2 * most], estimates[2 * most :], strict=True)
    points = [PairedPoint(k=k, base=b, tuned=t, difference=d) for k, (b, t, d) in enumerate(columns, start=1)]
    return PassCurves(
        rows=len(complete),
        trusted_k=max(1, most // 2),
        crossover=find_crossover([p.base.mean for p in points], [p.tuned.mean for p in points]),
        points=points,
    )


def _tabulate_pass_at_k(pairs: list[Pair], side: int, most: int) -> Floats:
    """Return pass@k of one side: rows x k."""
    counts = [(pair.graded[side], pair.right[side]) for pair in pairs]
    return np.array([[pass_at_k(n, c, k) for k in range(1, most + 1)] for n, c in counts])


def count_coverage(pairs: list[Pair], confidence: float) -> Coverage:
    """Count the rows gained and lost, and how many of each chance alone would give."""
    gained = sum(not before and after > 0 for before, after in (pair.right for pair in pairs))
    lost = sum(before > 0 and not after for before, after in (pair.right for pair in pairs))
    counts = [(*pair.graded, sum(pair.right)) for pair in pairs]
    return Coverage(
        rows=len(pairs),
        base=sum(pair.right[0] > 0 for pair in pairs),
        tuned=sum(pair.right[1] > 0 for pair in pairs),
        gained=gained,
        lost=lost,
        gained_by_chance=sum(chance_of_none_right(base, tuned, hits) for base, tuned, hits in counts),
        lost_by_chance=sum(chance_of_none_right(tuned, base, hits) for base, tuned, hits in counts),
        lost_share=wilson(lost, len(pairs), confidence),
    )


def match_length(pairs: list[Pair], interval: Resampling) -> LengthMatched | None:
    """Return the gain at equal length; ``None`` if the lengths of all rows changed equally."""
    longer = [pair.longer for pair in pairs]
    fitted = fit_line(longer, [pair.change for pair in pairs], interval)
    if fitted is None:
        return None
    return LengthMatched(
        gain=fitted.intercept,
        slope=fitted.slope,
        length_change=sum(longer) / len(longer),
        extrapolated=not min(longer) <= 0 <= max(longer),
    )
