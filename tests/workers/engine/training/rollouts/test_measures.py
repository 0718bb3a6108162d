"""Measures of a step's completions equal brute force and numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from workers.engine.training.rollouts.measures import (
    Moments,
    gains,
    known_mean,
    most_common_share,
    opening,
    repetition,
    within_group_std,
)

LENGTHS = st.integers(1, 500)
REWARDS = st.floats(-10, 10, allow_nan=False).map(lambda value: round(value, 3))
PAIRS = st.lists(st.tuples(LENGTHS, REWARDS), min_size=2, max_size=30)


def regression(early: list[tuple[int, float]], late: list[tuple[int, float]]) -> float:
    """The coefficient of "late" by least squares on (1, late, length)."""
    rows = [(1, 0, length) for length, _ in early] + [(1, 1, length) for length, _ in late]
    rewards = [reward for _, reward in early + late]
    solution, *_ = np.linalg.lstsq(np.array(rows, float), np.array(rewards), rcond=None)
    return float(solution[1])


@given(early=PAIRS, late=PAIRS)
def test_the_gain_at_equal_length_is_that_of_the_regression(early, late):
    raw, matched = gains(Moments.from_pairs(early), Moments.from_pairs(late))
    assert raw == pytest.approx(known_mean(r for _, r in late) - known_mean(r for _, r in early))
    if len({length for length, _ in early}) == 1 and len({length for length, _ in late}) == 1:
        assert matched is None
    else:
        assert matched == pytest.approx(regression(early, late), abs=1e-6)


@given(lengths=st.lists(LENGTHS, min_size=4, max_size=30), slope=st.floats(0.001, 0.1), more=LENGTHS)
def test_a_reward_that_only_pays_length_has_no_gain_at_equal_length(lengths, slope, more):
    assume(len(set(lengths)) > 1)
    early = [(length, slope * length) for length in lengths]
    late = [(length + more, slope * (length + more)) for length in lengths]
    raw, matched = gains(Moments.from_pairs(early), Moments.from_pairs(late))
    assert raw == pytest.approx(slope * more)
    assert matched == pytest.approx(0, abs=1e-6)


@given(lengths=st.lists(LENGTHS, min_size=4, max_size=30), better=st.floats(0.01, 5), more=LENGTHS)
def test_better_answers_keep_their_gain_however_much_longer_they_are(lengths, better, more):
    assume(len(set(lengths)) > 1)
    early = [(length, 0.5) for length in lengths]
    late = [(length + more, 0.5 + better) for length in lengths]
    _, matched = gains(Moments.from_pairs(early), Moments.from_pairs(late))
    assert matched == pytest.approx(better)


@given(pairs=PAIRS)
def test_correlation_is_pearsons(pairs):
    lengths, rewards = (np.array(column, float) for column in zip(*pairs, strict=True))
    measured = Moments.from_pairs(pairs).correlation
    if np.ptp(lengths) == 0 or np.ptp(rewards) == 0:
        assert measured is None
    else:
        assume(np.ptp(rewards) > 0.05)
        assert measured == pytest.approx(float(np.corrcoef(lengths, rewards)[0, 1]), abs=1e-5)


@given(parts=st.lists(PAIRS, max_size=5))
def test_moments_of_parts_add_up(parts):
    together = Moments.from_pairs([pair for part in parts for pair in part])
    assert vars(Moments.add_up(map(Moments.from_pairs, parts))) == pytest.approx(vars(together))


@given(ids=st.lists(st.integers(0, 4), max_size=40))
def test_repetition_is_one_less_the_share_of_different_triples(ids):
    triples = [tuple(ids[i : i + 3]) for i in range(len(ids) - 2)]
    expected = None if len(triples) < 2 else 1 - len(set(triples)) / len(triples)
    assert repetition(ids) == expected


def test_repetition_of_a_loop_is_high_and_of_new_words_nothing():
    assert repetition([7, 8] * 50) == pytest.approx(1 - 2 / 98)
    assert repetition(list(range(50))) == 0


def test_openings_are_compared_without_their_white_space():
    assert opening("The  answer\nis 4") == opening(" The answer is 4 ")
    assert len(opening("x" * 100)) == 40
    assert most_common_share(map(opening, ["a b", "a  b", "c"])) == pytest.approx(2 / 3)
    assert most_common_share([]) is None


def test_the_spread_within_groups_leaves_out_what_lies_between_them():
    assert within_group_std([0, 0, 1, 1], [0.0, 0.0, 1.0, 1.0]) == 0
    assert within_group_std([0, 0, 1, 1], [0.0, 1.0, 1.0, None]) == pytest.approx(0.25)
    assert within_group_std([0], [None]) is None
    assert math.isclose(within_group_std([0, 0, 0], [0.0, 0.5, 1.0]), np.std([0, 0.5, 1]))
