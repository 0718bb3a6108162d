"""The estimates equal what they estimate, by brute force on small cases."""

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.contract.statistics import FEWEST_ROWS, wilson
from workers.engine.evaluation.statistics import (
    Resampling,
    bootstrap,
    chance_of_none_right,
    count_wins_ties_losses,
    detectable_gain,
    find_crossover,
    fit_line,
    mcnemar_p_value,
    mean_pass_at_k,
    pass_at_k,
    rows_to_detect,
)

RESAMPLING = Resampling(0.95, 300, 1)
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
    assert (interval.low is None) == (interval.high is None) == (len(values) < FEWEST_ROWS)
    if interval.low is not None:
        assert min(values) - 1e-9 <= interval.low <= interval.mean <= interval.high <= max(values) + 1e-9
    assert bootstrap(values, 0.95, 200, seed) == interval


def test_the_interval_covers_the_truth_about_as_often_as_it_claims():
    rng = np.random.default_rng(1)
    intervals = [bootstrap(rng.normal(0.5, 0.2, 100).tolist(), 0.9, 400, seed) for seed in range(300)]
    covered = np.mean([interval.low <= 0.5 <= interval.high for interval in intervals])
    assert 0.84 <= covered <= 0.95


@given(REWARDS)
def test_wins_ties_and_losses_add_up_and_swap_with_the_arms(base):
    changes = [1 - 2 * value for value in base]
    wins, ties, losses = count_wins_ties_losses(changes)
    assert wins + ties + losses == len(base)
    assert count_wins_ties_losses([-change for change in changes]) == (losses, ties, wins)


@given(st.integers(0, 6), st.integers(0, 6))
def test_mcnemar_is_the_share_of_coin_tosses_at_least_as_uneven(only_base, only_tuned):
    rows = only_base + only_tuned
    uneven = [
        abs(2 * sum(tosses) - rows) >= abs(only_base - only_tuned) for tosses in product((0, 1), repeat=rows)
    ]
    assert mcnemar_p_value(only_base, only_tuned) == pytest.approx(np.mean(uneven))


def test_mcnemar_copes_with_many_rows():
    assert mcnemar_p_value(4900, 5100) == pytest.approx(0.0466, abs=1e-4)  # the normal approximation's value
    assert mcnemar_p_value(0, 3000) == 0.0


@given(st.integers(1, 4), st.integers(1, 4), st.data())
def test_rows_lost_by_luck_are_the_share_of_deals_that_leave_one_arm_empty(base, tuned, data):
    """Among all ways to deal the same right answers to the sides' places."""
    right = data.draw(st.integers(0, base + tuned))
    deals = [set(places) for places in combinations(range(base + tuned), right)]
    lost = [bool(deal) and all(place < base for place in deal) for deal in deals]
    assert chance_of_none_right(tuned, base, right) == pytest.approx(np.mean(lost))


CURVE = st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), min_size=1, max_size=8)


@given(CURVE, st.randoms())
def test_the_crossover_is_where_base_first_leads_after_tuned_did(base, random):
    tuned = random.sample(base, len(base))
    k = find_crossover(base, tuned)
    ahead = [after > before for before, after in zip(base, tuned, strict=True)]
    behind = [after < before for before, after in zip(base, tuned, strict=True)]
    found = [place + 1 for place in range(len(base)) if behind[place] and any(ahead[:place])]
    assert k == (found[0] if found else None)


@given(
    st.lists(st.tuples(st.integers(-300, 300), st.floats(-1, 1)), min_size=3, max_size=30),
    st.floats(-0.02, 0.02),
    st.floats(-1, 1),
)
def test_the_line_is_the_least_squares_one(points, slope, height):
    x = [float(across) for across, _ in points]
    y = [height + slope * across + noise for across, noise in points]
    fitted = fit_line(x, y, RESAMPLING)
    if len(set(x)) == 1:
        assert fitted is None
        return
    expected, *_ = np.linalg.lstsq(np.stack([np.ones(len(x)), x], axis=1), np.array(y), rcond=None)
    assert [fitted.intercept.mean, fitted.slope] == pytest.approx(expected, abs=1e-6)
    assert (fitted.intercept.low is None) == (len(x) < FEWEST_ROWS)
    if fitted.intercept.low is not None:
        assert fitted.intercept.low <= fitted.intercept.mean <= fitted.intercept.high


def test_a_gain_that_length_explains_vanishes_at_equal_length():
    rng = np.random.default_rng(2)
    longer = rng.normal(20, 10, 200)
    bought = fit_line(longer, 0.01 * longer + rng.normal(0, 0.05, 200), RESAMPLING)
    earned = fit_line(longer, 0.2 + rng.normal(0, 0.05, 200), RESAMPLING)
    assert bought.intercept.low < 0 < bought.intercept.high
    assert earned.intercept.low > 0.1


def test_the_lines_interval_covers_the_truth_about_as_often_as_it_claims():
    rng = np.random.default_rng(3)
    covered = []
    for _ in range(300):
        x = rng.normal(3, 2, 100)
        fitted = fit_line(x, 0.1 + 0.05 * x + rng.normal(0, 0.2, 100), Resampling(0.9, 300, 1)).intercept
        covered.append(fitted.low <= 0.1 <= fitted.high)
    assert 0.84 <= np.mean(covered) <= 0.95


@given(st.integers(1, 12), st.data())
def test_wilsons_interval_holds_the_shares_that_the_score_test_does_not_reject(of, data):
    count = data.draw(st.integers(0, of))
    interval = wilson(count, of, 0.95)
    truths = np.linspace(0.0005, 0.9995, 1000)
    kept = truths[np.abs(count / of - truths) <= 1.959964 * np.sqrt(truths * (1 - truths) / of)]
    assert (interval.low, interval.high) == pytest.approx((kept.min(), kept.max()), abs=0.002)


def test_an_effect_of_the_detectable_size_is_found_four_times_in_five():
    rng, std, rows = np.random.default_rng(4), 0.3, 150
    effect = detectable_gain(std, rows)
    means = rng.normal(effect, std, (4000, rows)).mean(axis=1)
    assert np.mean(means > 1.96 * std / np.sqrt(rows)) == pytest.approx(0.8, abs=0.02)
    assert rows_to_detect(std, effect) == pytest.approx(rows, abs=1)
