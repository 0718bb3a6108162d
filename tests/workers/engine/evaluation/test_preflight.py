"""Before training: what base rollouts say, and a job that waits when they say no."""

from __future__ import annotations

from itertools import combinations
from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workers.engine_jobs import events_of, of_type, run_engine
from workers.contract.statistics import allow_interval
from workers.engine.evaluation import forecast
from workers.engine.evaluation.forecast import Signs, advise, select_samples
from workers.engine.evaluation.statistics import Resampling, detectable_gain, rows_to_detect

MAKE = Resampling(0.95, 300, 0)
GOOD = Signs(
    errors=0.0, truncated=0.0, mean_reward=0.5, pass_at_1=0.3, pass_at_most=0.9, most=16, spread=0.3,
    distinct_completions=0.8, no_signal=0.1,
)  # fmt: skip
# Nothing is right, and every answer scores the same.
ZEROS = {"mean_reward": 0.0, "pass_at_1": 0.0, "pass_at_most": 0.0, "spread": 0.0, "no_signal": 1.0,
         "zero": 1.0, "zero_uncut": 1.0}  # fmt: skip
levels = st.sampled_from([0.0, 0.1, 0.5, 1.0])


@given(st.lists(levels, min_size=4, max_size=8), st.integers(2, 4))
def test_a_groups_chance_of_no_signal_is_that_of_drawing_equal_rewards(rewards, size):
    groups = list(combinations(rewards, size))
    equal = sum(len(set(group)) == 1 for group in groups) / len(groups)
    assert forecast.chance_of_no_signal(rewards, size) == pytest.approx(equal)


@given(st.lists(st.lists(levels, min_size=16, max_size=16), min_size=2, max_size=24))
@settings(max_examples=30)
def test_larger_groups_are_rarer_without_signal_and_curves_rise(rows):
    shares = forecast.estimate_no_signal(rows, 6, MAKE)
    means = [shares[size].mean for size in (4, 6, 8, 16)]
    assert means == sorted(means, reverse=True)
    assert forecast.choose_group_size(shares) in (4, 6, 8, 16)
    curve = forecast.estimate_pass_curve([(16, sum(r == 1.0 for r in row)) for row in rows], MAKE)
    assert [point.k for point in curve] == [1, 2, 4, 8, 16]
    values = [point.value for point in curve]
    if allow_interval(len(rows)):
        assert all(value.low <= value.mean <= value.high for value in values)
    else:
        assert all((value.low, value.high) == (None, None) for value in values)
    assert [value.mean for value in values] == sorted(value.mean for value in values)


@given(st.lists(st.floats(-1, 3), min_size=1, max_size=40))
def test_every_reward_is_in_the_histogram(rewards):
    counts, low, high = forecast.count_bins(rewards)
    assert sum(counts) == len(rewards)
    assert (low, high) == (min(0.0, *rewards), max(1.0, *rewards))


def test_the_detectable_improvement_is_what_simulated_jobs_show_eight_times_in_ten():
    """Rows whose pass rate rises by the detectable amount: the paired difference is found in 80 %."""
    random = np.random.default_rng(1)
    rates, samples, number = np.full(400, 0.5), 8, 400
    rows = [list((random.random(16) < rate).astype(float)) for rate in rates]
    gain = detectable_gain(forecast.expect_difference_std(rows, samples), number)
    found = 0
    for _ in range(300):
        base = random.binomial(samples, rates) / samples
        tuned = random.binomial(samples, rates + gain) / samples
        difference = tuned - base
        found += difference.mean() > 1.96 * difference.std(ddof=1) / sqrt(number)
    assert 0.7 < found / 300 < 0.9
    needed = rows_to_detect(forecast.expect_difference_std(rows, samples), gain)
    assert needed == pytest.approx(number, rel=0.01)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, "go"),
        ({"errors": 0.2}, "change_grader"),
        ({"truncated": 0.4}, "raise_length"),
        ({"pass_at_1": 0.97, "no_signal": 0.9}, "solved"),
        ({"spread": 0.0, "no_signal": 1.0}, "change_grader"),
        ({"pass_at_1": 0.0, "pass_at_most": 0.01, "no_signal": 0.95}, "sft_first"),
        ({"pass_at_1": 0.0, "pass_at_most": 0.0}, "go"),  # never right, but partial credit teaches
        ({"no_signal": 0.9}, "change_grader"),
        (ZEROS, "change_grader"),
        (ZEROS | {"truncated": 0.3, "zero_uncut": 0.7}, "change_grader"),
        (ZEROS | {"truncated": 0.7, "zero_uncut": 0.3}, "raise_length"),
        (ZEROS | {"errors": 0.9, "zero_uncut": 0.1}, "change_grader"),
    ],
)
def test_the_advice_follows_from_the_signs(changed, expected):
    first = advise(Signs(**(vars(GOOD) | changed)))[0]
    assert first.verdict == expected
    assert first.reason
    assert (first.remedy == "") == (expected == "go")


def test_rewards_that_are_all_0_point_at_grader_format_and_reference_before_the_length_limit():
    first, second = advise(Signs(**(vars(GOOD) | ZEROS | {"truncated": 0.3, "zero_uncut": 0.7})))
    assert first.reason.startswith("All completions score 0, and only 30% were cut at the length limit.")
    assert "the format it looks for, or the reference" in first.reason
    assert "samples below" in first.remedy
    assert second.verdict == "raise_length"
    (alone,) = advise(Signs(**(vars(GOOD) | ZEROS)))
    assert "and none was cut" in alone.reason


def test_what_the_grader_fails_on_comes_first_if_it_explains_most():
    changed = ZEROS | {"errors": 0.6, "zero_uncut": 0.4}
    first, second = advise(Signs(**(vars(GOOD) | changed)))
    assert first.reason == "The grader failed on 60% of the completions."
    assert second.reason.startswith("All completions score 0")


def test_samples_show_the_best_the_worst_an_error_a_cut_answer_and_then_other_rows():
    rewards = [[0.0, 0.5], [None, 1.0], [0.2, 0.2]]
    cut = [[False, False], [False, False], [False, True]]
    assert select_samples(rewards, cut, 5) == [(1, 1), (0, 0), (1, 0), (2, 1), (2, 0)]
    assert select_samples([[0.5]], [[False]], 8) == [(0, 0)]
    assert select_samples([[None, None]], [[True, False]], 8) == [(0, 0), (0, 1)]


def test_a_row_with_few_graded_answers_does_not_shorten_the_curve():
    curve = forecast.estimate_pass_curve([*[(16, 4)] * 23, (1, 0)], MAKE)
    assert curve[-1].k == 16
    assert curve[-1].value.mean == 1
    assert curve[0].value.mean == pytest.approx(23 * 0.25 / 24)


@pytest.mark.parametrize("reward", [0.0, 1.0])
def test_rewards_that_never_differed_promise_no_perfect_test_split(reward):
    std = forecast.expect_difference_std([[reward] * 16] * 24, 8)
    assert std == pytest.approx(sqrt(3 / 24))
    assert rows_to_detect(std, 0.02) > 1000


def test_relative_rewards_that_all_tie_are_no_go():
    relative = vars(GOOD) | {"relative": True}
    assert advise(Signs(**relative))[0].verdict == "go"
    assert advise(Signs(**(relative | {"no_signal": 1.0})))[0].verdict == "change_grader"


NEVER = {"type": "string_check", "input": "{{sample.output_text}}", "reference": "no", "operation": "eq"}


def test_a_job_that_cannot_learn_pauses_unless_its_settings_say_go_on(write_spec, tmp_path):
    sampled = {"rows": 6, "samples_per_row": 8}
    out = tmp_path / "out"
    assert run_engine("run", write_spec(grader=NEVER, preflight=sampled), "--out", out) == 0
    events = events_of(out)
    (report,) = of_type(events, "preflight")
    assert (report.rows, report.samples_per_row, sum(report.histogram)) == (6, 8, 48)
    assert report.verdict == "change_grader"
    assert report.reason.startswith("All completions score 0")
    assert len(report.samples) == 8
    assert all(sample.prompt and sample.reward == 0 for sample in report.samples)
    assert len({sample.row_id for sample in report.samples}) == 6
    assert report.no_signal["4"].mean == 1
    assert report.forecast.seconds.low < report.forecast.seconds.mean < report.forecast.seconds.high
    assert of_type(events, "error")[0].code == "preflight"
    assert events[-1].outcome == "paused"
    assert not of_type(events, "metrics")
    go_on = write_spec(preflight=sampled | {"on_no_go": "go_on"})
    assert run_engine("run", go_on, "--out", tmp_path / "trained") == 0
    assert events_of(tmp_path / "trained")[-1].outcome == "succeeded"


def test_a_preflight_changes_no_bit_of_the_training(write_spec, small_job, tmp_path):
    """The small job has none."""
    spec = write_spec(preflight={"rows": 5, "samples_per_row": 4, "on_no_go": "go_on"})
    assert run_engine("run", spec, "--out", tmp_path / "out") == 0
    weights = "package/adapter_model.safetensors"
    assert (tmp_path / "out" / weights).read_bytes() == (small_job.parent / "out" / weights).read_bytes()
