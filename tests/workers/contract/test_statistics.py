"""The engine, the model card and every page use the same fewest rows for an interval."""

from __future__ import annotations

import json

import pytest

from workers.contract.events import Interval
from workers.contract.statistics import FEWEST_ROWS, allow_interval
from workers.engine.evaluation.retention import negate
from workers.engine.evaluation.statistics import Resampling, fit_line
from workers.engine.packaging.package import _format_interval

MAKE = Resampling(0.95, 200, 1)


@pytest.mark.parametrize("rows", [1, 2, FEWEST_ROWS - 1])
def test_few_rows_have_a_mean_and_no_interval(rows: int) -> None:
    found = MAKE([0.5] * rows)
    assert (found.mean, found.low, found.high) == (0.5, None, None)
    assert not allow_interval(rows)
    assert not found.is_above_zero
    assert not found.is_below_zero


def test_enough_rows_have_an_interval() -> None:
    found = MAKE([0.5, 1.0] * (FEWEST_ROWS // 2))
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0.75 < found.high
    assert found.is_above_zero


def test_line_through_few_rows_has_no_interval() -> None:
    assert fit_line([1.0, 2.0, 3.0], [1.0, 2.0, 2.5], MAKE).intercept.low is None  # type: ignore[union-attr]


def test_turning_an_interval_swaps_its_ends_and_keeps_what_is_missing() -> None:
    assert negate(Interval(mean=0.2, low=0.1, high=0.4)) == Interval(mean=-0.2, low=-0.4, high=-0.1)
    assert negate(Interval(mean=0.2, low=None, high=None)) == Interval(mean=-0.2, low=None, high=None)


def test_model_card_says_that_there_is_no_interval() -> None:
    assert _format_interval(MAKE([0.5])) == "0.500 (no interval: fewer than 20 rows)"
    assert json.loads(MAKE([0.5]).model_dump_json()) == {"mean": 0.5, "low": None, "high": None}
