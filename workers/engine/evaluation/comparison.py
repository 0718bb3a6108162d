"""What tuning changed, row by row: both sides' graded answers in, ``contract.events.Comparison`` out."""

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
    Resampling,
    crossover,
    detectable,
    line,
    mcnemar,
    none_right_by_chance,
    pass_at_k,
    rows_to_detect,
)

Samples = Sequence[EvaluationSample]


def row_reward(row: Samples) -> float | None:
    """Mean reward of a row's graded answers; ``None`` if no grading succeeded."""
    rewards = [sample.reward for sample in row if sample.reward is not None]
    return sum(rewards) / len(rewards) if rewards else None


def graded(row: Samples) -> int:
    """How many answers have a grade."""
    return sum(sample.reward is not None for sample in row)


def passes(sample: EvaluationSample, threshold: float) -> bool:
    """Whether the answer counts as right. One without a grade does not."""
    return sample.reward is not None and sample.reward >= threshold


def right(row: Samples, threshold: float) -> int:
    """How many answers count as right."""
    return sum(passes(sample, threshold) for sample in row)


@dataclass(frozen=True)
class Pair:
    """One row's answers by both sides, each with at least one grade."""

    base: Samples
    tuned: Samples
    threshold: float

    @property
    def change(self) -> float:
        """Mean reward, tuned minus base."""
        before, after = row_reward(self.base), row_reward(self.tuned)
        assert before is not None, "a pair has grades of the base"
        assert after is not None, "a pair has grades of the tuned model"
        return after - before

    @property
    def longer(self) -> float:
        """Tokens an answer, tuned minus base."""
        base, tuned = (sum(s.length for s in side) / len(side) for side in (self.base, self.tuned))
        return tuned - base

    @property
    def graded(self) -> tuple[int, int]:
        return graded(self.base), graded(self.tuned)

    @property
    def right(self) -> tuple[int, int]:
        return right(self.base, self.threshold), right(self.tuned, self.threshold)


def pairs_of(base: Sequence[Samples], tuned: Sequence[Samples], threshold: float) -> list[Pair]:
    """The rows that have a grade from both sides."""
    return [
        Pair(before, after, threshold)
        for before, after in zip(base, tuned, strict=True)
        if graded(before) and graded(after)
    ]


def compared(pairs: list[Pair], interval: Resampling) -> Comparison | None:
    """Everything that can be said of these rows; ``None`` without any."""
    if not pairs:
        return None
    changes = [pair.change for pair in pairs]
    std = float(np.std(changes, ddof=1)) if len(changes) > 1 else 0.0
    spread = std > SAME  # without any, the formula would promise to see the smallest gain
    return Comparison(
        rows=len(pairs),
        mcnemar=first_answers(pairs),
        curves=pass_curves(pairs, interval),
        coverage=coverage(pairs, interval.confidence),
        length_matched=length_matched(pairs, interval),
        deviation=std if len(changes) > 1 else None,
        detectable=detectable(std, len(pairs)) if spread else None,
        rows_for_2_points=rows_to_detect(std, SMALL_GAIN) if spread else None,
    )


def first_answers(pairs: list[Pair]) -> McNemar:
    """McNemar's table of each side's first answer: one fair trial a row and side, whatever was drawn after.

    Rows whose first answer has no grade in either side are left out.
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
        p_value=mcnemar(only_base, only_tuned),
    )


def pass_curves(pairs: list[Pair], interval: Resampling) -> PassCurves | None:
    """Both curves on the same rows for every k, so that they rise and can be subtracted.

    Rows with fewer than half of their answers graded are left out; the shortest of the others ends the curve.
    """
    kept = [pair for pair in pairs if min(pair.graded) >= ceil(max(map(len, (pair.base, pair.tuned))) / 2)]
    most = min((min(pair.graded) for pair in kept), default=0)
    if not most:
        return None
    base, tuned = (_by_k(kept, side, most) for side in (0, 1))
    made = interval.intervals(np.concatenate([base, tuned, tuned - base], axis=1))
    columns = zip(made[:most], made[most : 2 * most], made[2 * most :], strict=True)
    points = [PairedPoint(k=k, base=b, tuned=t, difference=d) for k, (b, t, d) in enumerate(columns, start=1)]
    return PassCurves(
        rows=len(kept),
        trusted_k=max(1, most // 2),
        crossover=crossover([p.base.mean for p in points], [p.tuned.mean for p in points]),
        points=points,
    )


def _by_k(pairs: list[Pair], side: int, most: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """pass@k of one side: rows x k."""
    counts = [(pair.graded[side], pair.right[side]) for pair in pairs]
    return np.array([[pass_at_k(n, c, k) for k in range(1, most + 1)] for n, c in counts])


def coverage(pairs: list[Pair], confidence: float) -> Coverage:
    """The ledger of rows gained and lost, and how many of each luck alone would give."""
    gained = sum(not before and after > 0 for before, after in (pair.right for pair in pairs))
    lost = sum(before > 0 and not after for before, after in (pair.right for pair in pairs))
    dealt = [(*pair.graded, sum(pair.right)) for pair in pairs]
    return Coverage(
        rows=len(pairs),
        base=sum(pair.right[0] > 0 for pair in pairs),
        tuned=sum(pair.right[1] > 0 for pair in pairs),
        gained=gained,
        lost=lost,
        gained_by_chance=sum(none_right_by_chance(base, tuned, hits) for base, tuned, hits in dealt),
        lost_by_chance=sum(none_right_by_chance(tuned, base, hits) for base, tuned, hits in dealt),
        lost_share=wilson(lost, len(pairs), confidence),
    )


def length_matched(pairs: list[Pair], interval: Resampling) -> LengthMatched | None:
    """The gain at equal length; ``None`` where all rows' lengths changed alike, so that none can be told."""
    longer = [pair.longer for pair in pairs]
    fitted = line(longer, [pair.change for pair in pairs], interval)
    if fitted is None:
        return None
    return LengthMatched(
        gain=fitted.intercept,
        slope=fitted.slope,
        length_change=sum(longer) / len(longer),
        extrapolated=not min(longer) <= 0 <= max(longer),
    )
