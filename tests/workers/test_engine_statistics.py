"""The estimates equal what they estimate, by brute force on small cases."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.engine.statistics import bootstrap, mean_pass_at_k, pass_at_k, wins_ties_losses

REWARDS = st.lists(st.floats(0, 1, allow_nan=False), min_size=1, max_size=40)


@given(st.integers(1, 9), st.data())
def test_pass_at_k_is_the_share_of_k_subsets_that_hold_a_right_answer(samples, data):
    right = data.draw(st.integers(0, samples))
    k = data.draw(st.integers(1, samples))
    answers = [index < right for index in range(samples)]
    subsets = list(combinations(answers, k))
    assert pass_at_k(samples, right, k) == pytest.approx(sum(map(any, subsets)) / len(subsets))


def test_pass_at_k_is_unbiased_where_the_plug_in_estimate_is_not():
    chance, samples, k = 0.05, 16, 8
    right = np.random.default_rng(0).binomial(samples, chance, 20_000)
    truth = 1 - (1 - chance) ** k
    unbiased = np.mean([pass_at_k(samples, int(c), k) for c in right])
    plug_in = np.mean(1 - (1 - right / samples) ** k)
    assert unbiased == pytest.approx(truth, abs=0.01)
    assert plug_in < truth - 0.03


def test_pass_at_k_refuses_more_answers_than_there_are():
    with pytest.raises(ValueError, match="between 1 and the number of samples 4"):
        pass_at_k(4, 2, 5)


def test_rows_with_too_few_graded_answers_are_left_out():
    assert mean_pass_at_k([(4, 4), (1, 0)], 2) == 1.0
    assert mean_pass_at_k([(1, 0)], 2) is None


@given(REWARDS, st.integers(0, 2**31))
def test_a_bootstrap_interval_holds_the_mean_and_stays_within_the_data(values, seed):
    interval = bootstrap(values, 0.95, 200, seed)
    assert min(values) - 1e-9 <= interval.low <= interval.mean <= interval.high <= max(values) + 1e-9
    assert bootstrap(values, 0.95, 200, seed) == interval


def test_the_interval_covers_the_truth_about_as_often_as_it_claims():
    rng = np.random.default_rng(1)
    intervals = [bootstrap(rng.normal(0.5, 0.2, 100).tolist(), 0.9, 400, seed) for seed in range(300)]
    covered = np.mean([interval.low <= 0.5 <= interval.high for interval in intervals])
    assert 0.84 <= covered <= 0.95


@given(REWARDS)
def test_wins_ties_and_losses_add_up_and_swap_with_the_arms(base):
    tuned = [1 - value for value in base]
    wins, ties, losses = wins_ties_losses(base, tuned)
    assert wins + ties + losses == len(base)
    assert wins_ties_losses(tuned, base) == (losses, ties, wins)
    assert wins_ties_losses(base, base) == (0, len(base), 0)
