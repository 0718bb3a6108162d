"""The paired comparison of two sides, against the same numbers found the long way."""

from __future__ import annotations

from itertools import combinations
from statistics import fmean, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.contract.events import Comparison, EvaluationSample
from workers.contract.statistics import FEWEST_ROWS
from workers.engine.evaluation.comparison import Pair, compare_pairs, pair_rows
from workers.engine.evaluation.statistics import Resampling

RESAMPLING = Resampling(0.95, 100, 1)
THRESHOLD = 0.9


def answer(reward: float | None, length: int = 5) -> EvaluationSample:
    return EvaluationSample(completion="a", reward=reward, length=length, truncated=False)


ANSWERS = st.builds(answer, st.sampled_from([0.0, 0.5, 1.0]), st.integers(1, 30))
ROWS = st.lists(st.tuples(*[st.lists(ANSWERS, min_size=4, max_size=4)] * 2), min_size=1, max_size=12)
FAILING = st.builds(answer, st.sampled_from([None, 0.0, 1.0]))


def of(rows: list[tuple[list[EvaluationSample], list[EvaluationSample]]]) -> Comparison | None:
    base, tuned = [b for b, _ in rows], [t for _, t in rows]
    return compare_pairs(pair_rows(base, tuned, THRESHOLD), RESAMPLING)


def right(row: list[EvaluationSample]) -> list[bool]:
    return [(each.reward or 0.0) >= THRESHOLD for each in row]


@given(ROWS)
def test_the_curves_are_the_share_of_k_answers_with_a_right_one(rows):
    curves = of(rows).curves
    assert (curves.rows, curves.trusted_k, len(curves.points)) == (len(rows), 2, 4)
    for point in curves.points:
        shares = [
            [fmean(map(any, combinations(right(side), point.k))) for side in (base, tuned)]
            for base, tuned in rows
        ]
        assert point.base.mean == pytest.approx(fmean(share for share, _ in shares))
        assert point.tuned.mean == pytest.approx(fmean(share for _, share in shares))
        assert point.difference.mean == pytest.approx(point.tuned.mean - point.base.mean)
        for interval in (point.base, point.tuned, point.difference):
            assert (interval.low is None) == (len(rows) < FEWEST_ROWS)
            assert interval.low is None or interval.low <= interval.mean <= interval.high


@given(ROWS)
def test_the_ledger_and_mcnemars_table_count_every_row_once(rows):
    found = of(rows)
    solved = [(any(right(base)), any(right(tuned))) for base, tuned in rows]
    kept = found.coverage
    assert (kept.gained, kept.lost) == (solved.count((False, True)), solved.count((True, False)))
    assert kept.tuned - kept.base == kept.gained - kept.lost
    assert kept.lost_share.low <= kept.lost / len(rows) <= kept.lost_share.high
    firsts = [(right(base)[0], right(tuned)[0]) for base, tuned in rows]
    table = found.mcnemar
    assert (table.both, table.neither) == (firsts.count((True, True)), firsts.count((False, False)))
    assert (table.only_base, table.only_tuned) == (firsts.count((True, False)), firsts.count((False, True)))


@given(ROWS)
def test_swapping_the_arms_swaps_gains_and_losses(rows):
    found, swapped = of(rows), of([(tuned, base) for base, tuned in rows])
    assert (found.coverage.gained, found.coverage.lost) == (swapped.coverage.lost, swapped.coverage.gained)
    assert found.coverage.gained_by_chance == pytest.approx(swapped.coverage.lost_by_chance)
    assert found.mcnemar.p_value == swapped.mcnemar.p_value
    assert found.deviation == pytest.approx(swapped.deviation)


@given(ROWS)
def test_what_the_test_can_show_follows_from_the_rows_changes(rows):
    found = of(rows)
    changes = [fmean(s.reward for s in tuned) - fmean(s.reward for s in base) for base, tuned in rows]
    std = stdev(changes) if len(rows) > 1 else 0.0
    if std < 1e-9:
        assert (found.detectable, found.rows_for_2_points) == (None, None)
    else:
        assert found.detectable == pytest.approx(2.8 * std / len(rows) ** 0.5)
        exact = (2.8 * std / 0.02) ** 2
        assert exact - 1e-6 <= found.rows_for_2_points <= exact + 1 + 1e-6


@given(st.lists(st.tuples(*[st.lists(FAILING, min_size=3, max_size=3)] * 2), min_size=1, max_size=8))
def test_failed_gradings_are_missing_and_never_wrong(rows):
    known = [[[s for s in side if s.reward is not None] for side in row] for row in rows]
    both = [(base, tuned) for base, tuned in known if base and tuned]
    found = of(rows)
    if not both:
        assert found is None
        return
    assert found.rows == len(both)
    assert found.coverage.base == sum(any(right(base)) for base, _ in both)
    trusted = [row for row in both if min(map(len, row)) >= 2]
    assert (found.curves.rows if found.curves else 0) == len(trusted)
    if trusted:
        assert found.curves.points[-1].k == min(len(side) for row in trusted for side in row)


def test_a_gain_beyond_all_lengths_that_were_seen_is_called_an_extrapolation():
    def grown(by: list[int]) -> Comparison | None:
        return of([([answer(0.0, 10)], [answer(0.5, 10 + more)]) for more in by])

    assert grown([1, 2, 3]).length_matched.extrapolated
    assert not grown([-1, 2, 3]).length_matched.extrapolated
    assert grown([2, 2, 2]).length_matched is None


def test_lengths_count_every_answer_and_changes_only_graded_ones():
    pair = Pair([answer(0.0, 4), answer(None, 8)], [answer(1.0, 10), answer(0.5, 20)], THRESHOLD)
    assert (pair.longer, pair.change) == (9.0, 0.75)
