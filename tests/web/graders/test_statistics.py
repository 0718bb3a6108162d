"""Statistics of discrimination, agreement and the histogram; answers of cheats and their reports."""

from __future__ import annotations

from itertools import combinations
from statistics import fmean, stdev
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webapp.graders.checks.cheats import CHEATS, GradedCheat, list_cheats, report_cheat
from webapp.graders.trials.statistics import (
    build_histogram,
    find_bin,
    find_edges,
    measure_agreement,
    measure_discrimination,
)

rewards = st.integers(-8, 8).map(lambda n: n / 4)
groups = st.lists(st.lists(rewards, min_size=2, max_size=6), min_size=1, max_size=6)
gappy = st.lists(st.lists(st.none() | rewards, min_size=1, max_size=6), max_size=6)


def test_a_worked_example_of_discrimination() -> None:
    found = measure_discrimination([[0.0, 1.0], [1.0, 1.0], [0.5, None]])
    assert found.mean == pytest.approx(0.7)
    assert found.spread == pytest.approx((0.5**0.5 + 0) / 2)  # sample deviation of (0, 1) is 1/√2
    assert (found.no_signal, found.errors) == (0.5, pytest.approx(1 / 6))


def test_a_worked_example_of_agreement() -> None:
    """Of three pairs one is ordered alike, one opposite, one tied by the second grader alone."""
    found = measure_agreement([[1.0, 2.0, 3.0]], [[5.0, 6.0, 5.0]])
    assert (found.pairs, found.alike) == (3, pytest.approx((1 + 0.5) / 3))
    assert found.difference == pytest.approx(fmean([4, 4, 2]))


@given(groups, rewards)
def test_spread_forgets_the_level_and_keeps_the_scale(given: list[list[float]], shift: float) -> None:
    plain = measure_discrimination(given)
    moved = measure_discrimination([[2 * reward + shift for reward in group] for group in given])
    assert plain.spread is not None
    assert moved.spread == pytest.approx(2 * plain.spread)
    assert moved.no_signal == plain.no_signal
    assert plain.spread == pytest.approx(fmean(stdev(group) for group in given))


@given(gappy)
def test_shares_are_shares_and_a_gap_is_never_a_zero(given: list[list[float | None]]) -> None:
    found = measure_discrimination(given)
    graded = [reward for group in given for reward in group if reward is not None]
    assert found.mean == (pytest.approx(fmean(graded)) if graded else None)
    assert all(share is None or 0 <= share <= 1 for share in (found.no_signal, found.errors))
    whole = [group for group in given if len(group) > 1 and None not in group]
    assert (found.spread is None) == (not whole)


@given(groups)
def test_a_grader_agrees_with_itself_and_opposes_its_mirror(given: list[list[float]]) -> None:
    own = measure_agreement(given, given)
    mirror = measure_agreement(given, [[-r for r in group] for group in given])
    told_apart = sum(a != b for group in given for a, b in combinations(group, 2))
    assert (own.pairs, own.difference) == (told_apart, 0)
    assert (own.alike, mirror.alike) == ((1, 0) if told_apart else (None, None))


@given(groups, st.randoms())
def test_agreement_is_mutual_and_looks_at_order_alone(given: list[list[float]], random: Any) -> None:
    other = [random.sample(group, len(group)) for group in given]
    there, back = measure_agreement(given, other), measure_agreement(other, given)
    assert there.alike == back.alike
    assert there.alike == measure_agreement(given, [[r**3 for r in group] for group in other]).alike


@given(st.lists(st.floats(-1e6, 1e6)))
def test_every_reward_is_in_the_bin_that_its_link_shows(given: list[float]) -> None:
    bins, borders = build_histogram(given), find_edges(given)
    assert sum(each.count for each in bins) == len(given)
    for reward in given:
        chosen = bins[find_bin(reward, borders)]
        assert chosen.low <= reward <= chosen.high
        assert chosen.count


# --- cheats ----------------------------------------------------------------------------------------

texts = st.text(max_size=8)
tables = st.lists(texts, min_size=1, max_size=8)


def rows_with(references: list[str]) -> list[dict[str, Any]]:
    messages = [{"role": "user", "content": "the prompt"}]
    return [
        {"row_id": str(n), "messages": messages, "item": {"reference": text}}
        for n, text in enumerate(references)
    ]


def cheat(key: str) -> Any:
    return next(each for each in CHEATS if each.key == key)


@given(tables)
def test_nobody_gets_their_own_reference_and_everybody_gets_one_if_two_differ(references: list[str]) -> None:
    given = cheat("other").answers(rows_with(references), list(references))
    assert all(a != b for a, b in zip(given, references, strict=True))
    assert (None in given) == (len(set(references)) == 1)


@given(tables)
def test_the_constant_is_the_most_common_reference(references: list[str]) -> None:
    given = cheat("constant").answers(rows_with(references), list(references))
    assert len(set(given)) == 1
    assert references.count(given[0]) == max(map(references.count, references))


@given(tables)
def test_a_truncated_reference_is_shorter_and_never_empty(references: list[str]) -> None:
    given = cheat("truncated").answers(rows_with(references), list(references))
    for half, whole in zip(given, references, strict=True):
        assert half is None or (whole.startswith(half) and 0 < len(half) <= len(whole) / 2)


def test_without_a_reference_only_the_cheats_that_need_none_are_tried() -> None:
    rows = rows_with(["a", "b"])
    tried = {each.key for each in list_cheats(True) if None not in each.answers(rows, [None, None])}
    assert tried == {"empty", "echo", "boilerplate", "filler", "injection"}
    assert "injection" not in {each.key for each in list_cheats(False)}


@pytest.mark.parametrize(
    ("key", "paid", "warned"),
    [
        ("empty", [0.0, 0.0, 0.31], True),  # one row that pays for nothing is one too many
        ("empty", [0.3, 0.3, 0.3], False),
        ("other", [0.0, 0.0, 0.31], False),  # some shared parts are honest
        ("other", [0.9, 0.1, 0.1], True),
        ("empty", [None, None, None], False),
    ],
)
def test_what_is_warned_of(key: str, paid: list[float | None], warned: bool) -> None:
    rows = rows_with(["a", "b", "c"])
    graded = [GradedCheat(row, "x" * 5000, reward) for row, reward in zip(rows, paid, strict=True)]
    found = report_cheat(cheat(key), graded, 0.3)
    assert found["warned"] == warned
    assert bool(found["evidence"]) == warned
    assert all(each["reward"] > 0.3 and len(each["answer"]) == 2000 for each in found["evidence"])


@pytest.mark.parametrize(
    ("key", "paid", "warned"),
    [
        ("empty", [0.9, 0.9, 0.9], False),  # a ranking pays the second best too
        ("empty", [0.0, 0.0, 1.0], True),
        ("other", [0.0, 0.0, 1.0], False),
        ("other", [0.0, 1.0, 1.0], True),
    ],
)
def test_a_grader_that_compares_pays_a_cheat_where_it_is_ranked_no_lower_than_the_truth(
    key: str, paid: list[float], warned: bool
) -> None:
    graded = [
        GradedCheat(row, "x", reward, reference_reward=1.0)
        for row, reward in zip(rows_with(["a", "b", "c"]), paid, strict=True)
    ]
    assert report_cheat(cheat(key), graded, 0.3, relative=True)["warned"] == warned


def test_evidence_shows_first_where_the_cheat_is_wrong() -> None:
    rows = rows_with(["a", "b"])
    graded = [GradedCheat(rows[0], "a", 1.0, right=True), GradedCheat(rows[1], "a", 0.8)]
    assert [e["row_id"] for e in report_cheat(cheat("constant"), graded, 0.3)["evidence"]] == ["1", "0"]
