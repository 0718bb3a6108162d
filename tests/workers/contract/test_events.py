"""A reader of events gets each complete line once, wherever it begins and whenever the engine writes."""

from __future__ import annotations

import math
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from workers.contract.events import (
    AlarmEvent,
    CheckpointEvent,
    DoneEvent,
    ErrorEvent,
    Event,
    EventWriter,
    Interval,
    LogEvent,
    MetricsEvent,
    PhaseEvent,
    ProgressEvent,
    Rollout,
    RolloutsEvent,
    follow,
    parse,
)

ROLLOUT = Rollout(
    index=0, group=0, row_id="r", prompt="p", completion="c", reward=None, advantage=None,
    length=1, truncated=False, adapter_step=0, sub_rewards={"a": None, "b": 0.5},
)  # fmt: skip
EVENTS: list[Event] = [
    PhaseEvent(phase="train"),
    ProgressEvent(phase="train", done=1, total=2, eta_seconds=1.5),
    MetricsEvent(step=1, total_steps=2, values={"loss": -0.25}),
    RolloutsEvent(step=1, rollouts=[ROLLOUT]),
    CheckpointEvent(step=1, path="checkpoints/step-1"),
    AlarmEvent(step=1, code="c", message="m", threshold="t", evidence={"x": 1.0}, remedy="r", rollouts=[0]),
    LogEvent(message="line one\nline two \u2028 \x00 é 中"),
    ErrorEvent(code="c", message="m"),
    DoneEvent(outcome="succeeded", step=2, package="package"),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.type)
def test_an_event_is_one_line_and_comes_back_as_it_was(event: Event, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with path.open("w", encoding="utf-8") as file:
        EventWriter(file)(event)
        assert path.read_bytes().count(b"\n") == 1  # flushed at once
    assert [found for found, _ in follow(path, 0)] == [event]


@given(st.integers(0, 3000), st.integers(0, len(EVENTS)))
def test_a_reader_that_comes_between_two_writes_misses_nothing_and_repeats_nothing(
    cut: int, begin: int
) -> None:
    lines = [event.model_dump_json().encode() + b"\n" for event in EVENTS]
    content = b"".join(lines)
    offset = sum(map(len, lines[:begin]))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "events.jsonl"
        path.write_bytes(content[: max(cut, offset)])
        first = list(follow(path, offset))
        path.write_bytes(content)
        second = list(follow(path, first[-1][1] if first else offset))
    assert [event for event, _ in first + second] == EVENTS[begin:]
    assert [place for _, place in first + second] == [
        sum(map(len, lines[: index + 1])) for index in range(begin, len(lines))
    ]


def test_an_attempt_without_events_has_none(tmp_path: Path) -> None:
    assert list(follow(tmp_path / "events.jsonl", 0)) == []


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{}",
        "[]",
        '{"type": "unknown"}',
        '{"type": "phase", "phase": "lunch"}',
        '{"type": "log", "message": "m", "colour": "red"}',
        '{"type": "done", "outcome": "succeeded"}',
        '{"type": "rollouts", "step": 1, "rollouts": [{"index": 0}]}',
    ],
)
def test_a_line_that_is_no_event_is_refused(line: str) -> None:
    with pytest.raises(ValidationError):
        parse(line)


FINITE = st.floats(-1e6, 1e6)


@given(FINITE, FINITE, FINITE, FINITE)
def test_a_scaled_interval_holds_the_scaled_values(mean: float, low: float, high: float, by: float) -> None:
    low, mean, high = sorted([low, mean, high])
    found = Interval(mean=mean, low=low, high=high).scaled(by)
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.mean <= found.high
    assert {found.low, found.high} == {low * by, high * by}
    assert not any(math.copysign(1, each) < 0 for each in (found.low, found.mean, found.high) if each == 0)


@pytest.mark.parametrize(
    ("low", "high", "above", "below"),
    [(0.1, 0.2, True, False), (-0.2, -0.1, False, True), (0.0, 0.1, False, False), (-0.1, 0.1, False, False)],
)
def test_an_interval_that_touches_0_shows_no_difference(
    low: float, high: float, above: bool, below: bool
) -> None:
    found = Interval(mean=(low + high) / 2, low=low, high=high)
    assert (found.is_above_zero, found.is_below_zero) == (above, below)
