"""Figures of a job's pages, against numbers worked out by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.web.preflight_report import REPORT
from webapp.jobs.models import JobEvent, Rollout
from webapp.jobs.monitor import metrics, preflight
from webapp.jobs.monitor.job_views import _read_weight
from webapp.jobs.monitor.phases import sum_durations
from webapp.jobs.monitor.presenters import differences
from webapp.jobs.rollouts.detail import find_best, summarize_step
from webapp.jobs.rollouts.saved_views import normalize_query
from webapp.jobs.rollouts.search import NAMES
from webapp.jobs.templatetags.joblog import describe_line, line_level
from workers.contract.events import PreflightEvent
from workers.contract.spec import JobSettings

START = datetime(2026, 3, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


# --- time by phase -----------------------------------------------------------------------------------


def test_time_in_the_queue_and_in_a_pause_counts_for_no_phase() -> None:
    events = [
        (at(0), "state", {"state": "queued"}),
        (at(100), "state", {"state": "running"}),
        (at(101), "phase", {"phase": "prepare"}),
        (at(111), "phase", {"phase": "train"}),
        (at(131), "state", {"state": "paused"}),
        (at(900), "state", {"state": "running"}),
        (at(905), "phase", {"phase": "train"}),
    ]
    assert sum_durations(events, at(910)) == {"prepare": 10, "train": 25}
    assert sum_durations(events[:1], at(910)) == {}


@given(st.lists(st.tuples(st.floats(0, 1e4), st.sampled_from(["prepare", "train", ""])), max_size=12))
def test_phases_never_take_longer_than_the_time_between_first_and_last(
    steps: list[tuple[float, str]],
) -> None:
    events: list[Any] = [
        (at(time), "phase" if phase else "state", {"phase": phase} if phase else {"state": "paused"})
        for time, phase in sorted(steps)
    ]
    spent = sum_durations(events, at(1e4))
    assert all(seconds >= 0 for seconds in spent.values())
    assert sum(spent.values()) <= 1e4 - min([time for time, _ in steps], default=0) + 1e-3


# --- series ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "weight"),
    [("0.5", 0.5), ("1", 0.99), ("inf", 0.99), ("-1", 0), ("nan", 0), ("", 0), ("half", 0)],
)
def test_the_weight_of_a_moving_average_is_from_0_to_below_1(text: str, weight: float) -> None:
    assert _read_weight(text) == weight


def test_a_moving_average_starts_without_bias_and_skips_gaps() -> None:
    """With weight 0.5: 4; (0.25 * 4 + 0.5 * 1) / 0.75 = 2; a gap; (0.75 + 0.5 * 8) / 0.875."""
    assert metrics.smooth_column([4.0, 1.0, None, 8.0], 0.5) == pytest.approx([4.0, 2.0, None, 38 / 7])


@given(st.integers(1, 10**6))
def test_the_steps_of_a_sparkline_include_the_first_and_the_last(last: int) -> None:
    steps = sorted(metrics._spread_steps(last))
    assert (steps[0], steps[-1]) == (1, last)
    assert len(steps) == min(last, 40)


def test_only_settings_that_differ_are_listed_by_their_path() -> None:
    before = JobSettings.model_validate({"grpo": {"max_steps": 5}, "seed": 1})
    after = JobSettings.model_validate({"grpo": {"max_steps": 9}, "seed": 1})
    assert differences(before, after) == [("grpo.max_steps", 5, 9)]
    assert differences(before, before) == []


# --- the preflight -----------------------------------------------------------------------------------


@pytest.fixture
def report() -> PreflightEvent:
    return PreflightEvent.model_validate(REPORT)


def test_bars_of_the_histogram_fill_the_range_and_the_highest_fills_the_box(report: PreflightEvent) -> None:
    bars = preflight.build_histogram(report)
    assert (bars[0].low, bars[-1].high, len(bars)) == (0.0, 1.0, 20)
    assert all(bar.high == pytest.approx(after.low) for bar, after in pairwise(bars))
    assert (bars[0].count, bars[0].top, bars[0].height) == (380, "0.00", "100.00")
    assert (bars[-1].count, bars[-1].height) == (4, f"{400 / 380:.2f}")


def test_a_histogram_without_rewards_is_flat(report: PreflightEvent) -> None:
    bars = preflight.build_histogram(report.model_copy(update={"histogram": [0, 0]}))
    assert [bar.height for bar in bars] == ["0.00", "0.00"]


@pytest.mark.parametrize(("share", "size"), [(0.3, "8"), (0.31, ""), (None, "")])
def test_a_group_size_suffices_if_at_most_three_of_ten_groups_have_no_signal(
    report: PreflightEvent, share: float | None, size: str
) -> None:
    shares = {} if share is None else {"8": {"mean": share, "low": 0.1, "high": 0.6}}
    changed = PreflightEvent.model_validate(report.model_dump() | {"no_signal": shares})
    assert preflight.find_sufficient_size(changed) == size


# --- rollouts of one prompt --------------------------------------------------------------------------


def rollouts(*rewards: float | None) -> list[Rollout]:
    return [Rollout(index=index, reward=reward, adapter_step=3) for index, reward in enumerate(rewards)]


def test_the_best_of_a_group_is_the_first_with_the_highest_reward() -> None:
    best = find_best(rollouts(0.5, None, 1.0, 1.0))
    assert best is not None
    assert best.index == 2
    assert find_best(rollouts(None, None)) is None
    assert find_best([]) is None


@pytest.mark.parametrize(
    ("rewards", "mean", "typical"),
    [((0.0, 1.0, 0.5), 0.5, 2), ((1.0, None, 0.0), 0.5, 0), ((None, None), None, 0), ((0.2,), 0.2, 0)],
)
def test_a_step_is_shown_by_its_median_rollout_and_the_mean_of_what_was_graded(
    rewards: tuple[float | None, ...], mean: float | None, typical: int
) -> None:
    found = summarize_step(4, rollouts(*rewards))
    assert (found.mean, found.typical.index, found.rollouts) == (mean, typical, len(rewards))
    assert not found.by_initial_model


@given(st.dictionaries(st.sampled_from([*NAMES, "step", "page", "x"]), st.text(max_size=6), max_size=5))
def test_equal_filters_are_saved_as_equal_text(query: dict[str, str]) -> None:
    try:
        text = normalize_query(urlencode(query))
    except UnicodeEncodeError:  # half a surrogate pair, which no browser sends
        return
    assert normalize_query(text) == text
    assert normalize_query(urlencode(dict(reversed(query.items())))) == text
    assert "page=" not in text
    assert "step=" not in text.replace("adapter_step", "")


# --- lines of the log --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "data", "text", "level"),
    [
        ("state", {"state": "paused"}, "State: Paused", ""),
        ("request", {"request": "pause"}, "Requested: pause", ""),
        ("phase", {"phase": "evaluate"}, "Phase: Compare", ""),
        ("phase", {"phase": "of a later release"}, "Phase: of a later release", ""),
        ("checkpoint", {"step": 7}, "Checkpoint at step 7", ""),
        ("evaluation", {"stage": "after", "split": "test", "step": 9}, "Compared on test rows, step 9", ""),
        ("log", {"level": "warning", "message": "Slow."}, "Slow.", "warning"),
        ("log", {"level": "info", "message": "Fine."}, "Fine.", ""),
        ("error", {"message": "No memory."}, "No memory.", "error"),
        ("alarm", {"message": "Entropy fell."}, "Entropy fell.", "warning"),
        ("log", {}, "", ""),
    ],
)
def test_a_line_of_the_log_is_a_sentence_with_its_level(
    kind: str, data: dict[str, Any], text: str, level: str
) -> None:
    line = JobEvent(kind=kind, data=data)
    assert (describe_line(line), line_level(line)) == (text, level)
