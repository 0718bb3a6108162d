"""Formulas of agreement between a judge and people."""

from __future__ import annotations

from itertools import product
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webapp.calibration import statistics
from webapp.calibration.statistics import JudgedAnswer
from webapp.core.statistics import cohen_kappa


def test_a_judge_that_pays_for_length_is_found_out() -> None:
    judged = [JudgedAnswer(1 + n % 5, min(1.0, n / 40), 10 * n) for n in range(40)]
    found = statistics.bootstrap_interval(judged, statistics.measure_length_slope)
    assert found.low is not None
    assert found.value is not None
    assert 0 < found.low <= found.value
    agreement = statistics.bootstrap_interval(
        judged, lambda some: statistics.measure_passing_kappa(some, 0.5)
    )
    assert agreement.low is not None
    assert agreement.low < 0.3


def test_kappa_is_that_of_the_textbook() -> None:
    """Cohen (1960): 20 yes-yes, 15 no-no, 5 yes-no, 10 no-yes give 0.4."""
    first = [True] * 25 + [False] * 25
    second = [True] * 20 + [False] * 5 + [True] * 10 + [False] * 15
    assert cohen_kappa(first, second) == pytest.approx(0.4)


VERDICTS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=50)


@given(VERDICTS)
def test_kappa_is_symmetric_at_most_1_and_1_only_in_full_agreement(pairs: list[tuple[bool, bool]]) -> None:
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    found = cohen_kappa(first, second)
    assert found == pytest.approx(cohen_kappa(second, first))
    assert found is None or found <= 1
    if found is not None:
        assert (found == pytest.approx(1)) == (first == second)


LEVELS = st.integers(1, 5)


@given(st.lists(st.tuples(LEVELS, LEVELS), min_size=1, max_size=30))
def test_weighted_kappa_is_symmetric_and_1_in_full_agreement(pairs: list[tuple[int, int]]) -> None:
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    found = statistics.weighted_kappa(first, second)
    assert found is None or found <= 1
    assert found == (None if found is None else pytest.approx(statistics.weighted_kappa(second, first)))
    if len(set(first)) > 1:
        assert statistics.weighted_kappa(first, first) == 1


@given(st.integers(1, 5))
def test_a_label_and_its_share_are_the_same_level(label: int) -> None:
    assert statistics.to_label(statistics.to_reward(label)) == label


@given(st.lists(st.tuples(LEVELS, LEVELS), min_size=1, max_size=12))
def test_weighted_kappa_compares_with_every_pair_of_chance(pairs: list[tuple[int, int]]) -> None:
    """Cohen (1968): the squares expected by chance are those of all pairs of a first and a second label."""
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    chance = fmean((a - b) ** 2 for a, b in product(first, second))
    found = statistics.weighted_kappa(first, second)
    if chance:
        assert found == pytest.approx(1 - fmean((a - b) ** 2 for a, b in pairs) / chance)
    else:
        assert found is None


def test_weighted_kappa_of_three_answers_by_hand() -> None:
    """Observed 4/3; by chance 2/3 + 26/9 + 4/9 = 4."""
    assert statistics.weighted_kappa([1, 2, 3], [1, 2, 5]) == pytest.approx(2 / 3)


@given(
    st.lists(st.tuples(LEVELS, st.integers(1, 900)), min_size=2, max_size=20).filter(
        lambda answers: len({length for _, length in answers}) > 1
    ),
    st.floats(-0.2, 0.2),
)
def test_the_length_slope_is_what_the_judge_adds_per_hundred_characters(
    answers: list[tuple[int, int]], added: float
) -> None:
    judged = [
        JudgedAnswer(label, (label - 1) / 4 + added * length / 100, length) for label, length in answers
    ]
    assert statistics.measure_length_slope(judged) == pytest.approx(added, abs=1e-6)


def test_answers_of_one_length_say_nothing_about_length() -> None:
    judged = [JudgedAnswer(label, 0.5, 80) for label in (1, 3, 5)]
    assert statistics.measure_length_slope(judged) is None
    found = statistics.bootstrap_interval(judged, statistics.measure_length_slope)
    assert (found.value, found.low, found.high) == (None, None, None)


@pytest.mark.parametrize(
    ("label", "reward", "alike"), [(4, 0.51, True), (4, 0.5, False), (3, 0.5, True), (3, 0.51, False)]
)
def test_a_person_passes_from_4_up_and_a_judge_above_its_threshold(
    label: int, reward: float, alike: bool
) -> None:
    judged = [JudgedAnswer(label, reward, 10)]
    assert statistics.measure_raw_agreement(judged, 0.5) == float(alike)


def test_a_judge_in_full_agreement_has_no_width_left() -> None:
    judged = [JudgedAnswer(1 + n % 5, (n % 5) / 4, n) for n in range(40)]
    found = statistics.bootstrap_interval(judged, statistics.measure_levels_kappa)
    assert (found.value, found.low, found.high) == (1, 1, 1)
