"""Blind votes: models stay hidden, a vote counts once, votes are compared with the grader."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from hypothesis import given
from hypothesis import strategies as st

from tests.web.comparison import compare, finished_job, row, sample
from webapp.evaluations import voting
from webapp.evaluations.models import Vote
from webapp.jobs.models import ComparedRow, Evaluation
from webapp.teams.models import Team, User
from workers.contract.statistics import FEWEST_ROWS

SignIn = Callable[[User], Client]
ROWS = 24


@pytest.fixture
def evaluation(team: Team, alice: User) -> Evaluation:
    """Twelve rows with different answers, the tuned one better by the grader; one row with equal ones."""
    rows = [row(f"{n}", [sample(0.2, f"base {n}")], [sample(0.9, f"tuned {n}")]) for n in range(ROWS)]
    return compare(finished_job(team, alice), [*rows, row("same", [sample(0.5, "x")], [sample(0.5, "x")])])


def place(evaluation: Evaluation) -> str:
    return reverse("evaluations:vote", args=[evaluation.job.team.slug, evaluation.job.uid])


def page(evaluation: Evaluation) -> str:
    return reverse("evaluations:compare", args=[evaluation.job.team.slug, evaluation.job.uid])


def answer(client: Client, evaluation: Evaluation, preferred: str) -> None:
    """Judge the row that is shown by what it says, as a person would."""
    shown = client.get(place(evaluation))
    side = ("left", "right")[[text.split()[0] for text, _ in shown.context["answers"]].index(preferred)]
    send(client, evaluation, shown.context["row"], side)


def send(client: Client, evaluation: Evaluation, row: ComparedRow, side: str) -> Any:
    """What the page of this row sends when a side is pressed."""
    page = client.get(place(evaluation), {"row": row.pk})
    return client.post(place(evaluation), {"row": row.pk, "side": side, "shown": page.context["shown"]})


def test_votes_are_counted_for_the_model_whose_answer_was_chosen(
    evaluation: Evaluation, alice: User, as_user: SignIn
) -> None:
    client = as_user(alice)
    for number in range(ROWS):
        answer(client, evaluation, "base" if number < 1 else "tuned")
    assert "You have judged all 24 rows" in client.get(place(evaluation)).text
    result = voting.count_votes(evaluation)
    assert result is not None
    assert (result.tuned, result.tie, result.base, result.rows) == (23, 0, 1, ROWS)
    mean, low, high = result.preference
    assert mean == pytest.approx(22 / 24)
    assert 0 < low < mean < high <= 1
    assert result.agreement is not None
    assert result.agreement.same == pytest.approx(23 / 24)
    assert "People prefer the tuned model" in client.get(page(evaluation)).text


def test_the_page_does_not_tell_whose_answer_is_whose(
    evaluation: Evaluation, alice: User, as_user: SignIn
) -> None:
    sides = {voting.tuned_is_left(ComparedRow(pk=number), alice) for number in range(99)}
    assert sides == {True, False}
    shown = as_user(alice).get(place(evaluation))
    assert shown.context["answers"] == as_user(alice).get(place(evaluation)).context["answers"]
    assert "0.9" not in shown.text.partition('id="voting"')[2]


def test_the_result_is_told_to_those_who_have_voted(
    evaluation: Evaluation, alice: User, bob: User, erin: User, as_user: SignIn
) -> None:
    answer(as_user(erin), evaluation, "tuned")
    assert "Too few rows to tell" not in as_user(alice).get(page(evaluation)).text
    assert "Too few rows to tell" in as_user(erin).get(page(evaluation)).text
    assert "Too few rows to tell" in as_user(bob).get(page(evaluation)).text, "a viewer may not vote"


def test_a_vote_can_be_changed_and_counts_once(evaluation: Evaluation, alice: User, as_user: SignIn) -> None:
    client, first = as_user(alice), voting.find_next_row(evaluation, alice)
    assert first is not None
    for side in ("left", "right", "tie"):
        send(client, evaluation, first, side)
    assert Vote.objects.get().preferred == "tie"
    again = client.get(place(evaluation), {"row": first.pk})
    assert again.context["given"] == "tie"
    assert client.get(place(evaluation), {"skip": first.pk}).context["row"] != first


def test_rows_of_another_comparison_take_no_vote(
    evaluation: Evaluation, team: Team, alice: User, as_user: SignIn
) -> None:
    other = compare(finished_job(team, alice), [row("z", [sample(0.2, "a")], [sample(0.9, "b")])])
    foreign = ComparedRow.objects.get(evaluation=other)
    answer = as_user(alice).post(place(evaluation), {"row": foreign.pk, "side": "left"})
    assert answer.status_code == 404
    assert not Vote.objects.exists()


@given(st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=1, max_size=60))
def test_the_interval_holds_the_mean_and_never_claims_certainty(rows: list[float]) -> None:
    mean, low, high = voting._measure_preference(rows)
    if len(rows) < FEWEST_ROWS:
        assert (low, high) == (None, None)
        return
    assert low is not None
    assert high is not None
    assert -1 <= low < high <= 1
    assert low - 2 / (len(rows) + 2) <= mean <= high + 2 / (len(rows) + 2)


def test_a_page_that_was_open_while_the_secret_changed_counts_nothing(
    evaluation: Evaluation, alice: User, as_user: SignIn, settings: Any
) -> None:
    client = as_user(alice)
    page = client.get(place(evaluation))
    row, shown = page.context["row"], page.context["shown"]
    settings.SECRET_KEY = "another secret, as long as it has to be to count as one at all"
    client = as_user(alice)
    answer = client.post(place(evaluation), {"row": row.pk, "side": "left", "shown": shown}, follow=True)
    assert "Vote again" in answer.text
    assert answer.context["row"] == row
    assert not Vote.objects.exists()


def test_agreement_is_told_to_voters_after_their_vote_and_to_viewers(
    evaluation: Evaluation, alice: User, bob: User, as_user: SignIn
) -> None:
    answer(as_user(alice), evaluation, "tuned")
    assert voting.list_visible_votes(alice, may_vote=True).count() == 1
    assert voting.list_visible_votes(bob, may_vote=True).count() == 0
    assert voting.list_visible_votes(bob, may_vote=False).count() == 1
