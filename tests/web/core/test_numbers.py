"""Numbers on pages: short, with their sign, and a dash where nothing was measured; times in sentences."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from math import isclose

import pytest
from django.template import Context, Template
from django_cotton.compiler_regex import CottonCompiler
from hypothesis import given
from hypothesis import strategies as st

from webapp.core.templatetags.groove import polyline
from workers.contract.events import Interval
from workers.contract.statistics import FEWEST_ROWS

MEASURED = st.floats(-1e6, 1e6, allow_nan=False)


def show(expression: str, value: object) -> str:
    return Template("{% load groove %}{{ value|" + expression + " }}").render(Context({"value": value}))


@pytest.mark.parametrize(
    ("expression", "value", "text"),
    [
        ("score", 0.12345, "0.123"),
        ("score", "0.5", "0.500"),
        ("signed", 0.25, "+0.250"),
        ("signed", -0.25, "−0.250"),
        ("percent", 0.126, "13 %"),
        ("percent", 1, "100 %"),
        ("number", 0.0012345, "0.00123"),
        ("number", 12.345, "12.3"),
        ("number", 1234.5, "1,234"),
        ("number", 2e-05, "2e−05"),
        ("number", 1e6, "1,000,000"),
        ("number", -3.14159, "−3.14"),
        ("seconds", 0.4, "0 s"),
        ("seconds", 59.6, "1 min 0 s"),
        ("seconds", 3599.4, "59 min 59 s"),
        ("seconds", 3600, "1 h 0 min"),
        ("seconds", 90061, "25 h 1 min"),
    ],
)
def test_a_number_is_short(expression: str, value: object, text: str) -> None:
    assert show(expression, value) == text


@pytest.mark.parametrize("expression", ["score", "signed", "percent", "number", "seconds"])
@pytest.mark.parametrize("absent", [None, ""])
def test_what_was_not_measured_is_a_dash_and_zero_is_a_number(expression: str, absent: object) -> None:
    assert show(expression, absent) == "–"
    assert "0" in show(expression, 0)


@given(MEASURED)
def test_a_score_is_the_number_to_three_decimals(value: float) -> None:
    assert abs(float(show("score", value)) - value) <= 0.0005 + 1e-9
    assert float(show("signed", value).replace("−", "-")) == float(show("score", value))


@given(st.floats(0, 1e7))
def test_a_duration_is_right_to_its_last_unit(value: float) -> None:
    words = show("seconds", value).split()
    unit = {"h": 3600, "min": 60, "s": 1}
    total = sum(int(count) * unit[name] for count, name in zip(words[::2], words[1::2], strict=True))
    assert abs(total - value) <= max(0.5, unit[words[-1]] - 0.5)


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("bounds", "[−0.1"),
        ("signed_bounds", "[−0.100, +0.300]"),
        ("hint:0.9", "90 % interval"),
        ("signed_hint", "95 % interval −0.100 to +0.300"),
    ],
)
def test_an_interval_is_written_alike_from_an_object_and_from_its_json(expression: str, text: str) -> None:
    interval = Interval(mean=0.1, low=-0.1, high=0.3)
    shown = show(expression, interval)
    assert shown == show(expression, interval.model_dump())
    assert text.replace("−0.1", "-0.1") in shown or text in shown


@pytest.mark.parametrize("expression", ["bounds", "signed_bounds", "hint", "signed_hint"])
def test_few_rows_have_a_reason_in_place_of_an_interval(expression: str) -> None:
    shown = show(expression, Interval(mean=0.1, low=None, high=None))
    assert f"no interval below {FEWEST_ROWS} rows" in shown.lower()


@given(st.lists(MEASURED, min_size=1, max_size=60))
def test_a_sparkline_stays_in_its_box_and_rises_where_the_values_rise(values: list[float]) -> None:
    points = [tuple(map(float, point.split(","))) for point in polyline(values).split()]
    assert len(points) == len(values)
    assert all(0 <= x <= 96 and 1 <= y <= 23 for x, y in points)
    assert [x for x, _ in points] == sorted(x for x, _ in points)
    for (before, after), ((_, above), (_, below)) in zip(pairwise(values), pairwise(points), strict=True):
        if after > before and not isclose(after, before):
            assert below <= above, "a greater value is drawn higher"


def test_a_sparkline_of_nothing_is_empty_and_a_flat_one_is_flat() -> None:
    assert polyline([]) == ""
    assert {point.split(",")[1] for point in polyline([0.5, 0.5, 0.5]).split()} == {"23.0"}


def test_a_time_within_a_sentence_has_no_space_after_it() -> None:
    page = CottonCompiler().process("Started <c-time :at='at' />.")
    shown = Template(page).render(Context({"at": datetime(2026, 11, 30, 12, 0, tzinfo=UTC)}))
    assert shown.endswith("</time></relative-time>.")
