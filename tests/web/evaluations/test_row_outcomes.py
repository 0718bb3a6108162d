"""Rows won, tied and lost: their interval, and its text on the page."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from django.test import Client
from django.urls import reverse
from hypothesis import given
from hypothesis import strategies as st

from tests.web.comparison import compare, finished_job, row, sample
from webapp.evaluations.row_outcomes import count_outcomes
from webapp.teams.models import Team, User
from workers.contract.statistics import wilson

COUNTS = st.integers(0, 400)


@given(COUNTS, COUNTS, COUNTS, st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_the_share_won_lies_in_its_interval_and_turns_with_the_sides(
    wins: int, ties: int, losses: int, confidence: float
) -> None:
    found, turned = (count_outcomes(a, ties, b, confidence) for a, b in ((wins, losses), (losses, wins)))
    if not wins + ties + losses:
        assert found is None
        return
    assert found
    assert turned
    assert sum(part.count for part in found.parts) == wins + ties + losses
    assert sum(part.share for part in found.parts) == pytest.approx(1)
    if not wins + losses:
        assert found.won is None
        return
    assert found.won is not None
    assert 0 <= found.low <= found.won <= found.high <= 1
    assert found.low < found.high, "never without width, even after a clean sweep"
    assert (turned.low, turned.high) == pytest.approx((1 - found.high, 1 - found.low))


@pytest.mark.parametrize(("rows", "truth"), [(20, 0.5), (20, 0.9), (100, 0.7)])
def test_the_interval_holds_the_truth_about_as_often_as_it_says(rows: int, truth: float) -> None:
    random, tests = Random(7), 2000
    held = 0
    for _ in range(tests):
        interval = wilson(sum(random.random() < truth for _ in range(rows)), rows, 0.95)
        held += interval.low <= truth <= interval.high
    assert 0.92 < held / tests < 0.98


def test_the_page_says_how_many_rows_were_won_and_how_sure_that_is(
    team: Team, alice: User, as_user: Callable[[User], Client]
) -> None:
    job = finished_job(team, alice)
    rewards = [(0.2, 0.9)] * 15 + [(0.5, 0.5)] * 4 + [(0.9, 0.1)]
    compare(job, [row(f"r{n}", [sample(a, "a")], [sample(b, "b")]) for n, (a, b) in enumerate(rewards)])
    shown = as_user(alice).get(reverse("evaluations:compare", args=[team.slug, job.uid]))
    assert 'aria-label="15 won, 4 tied, 1 lost"' in shown.text
    assert "94 %" in shown.text
    assert "[72 %, 99 %] of 16 rows that differ" in shown.text
    assert "the tuned model wins more rows than it loses" in shown.text
