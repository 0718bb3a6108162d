"""Comparison of episodes: both models on the same tasks, in which turn they part, blind votes."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests.web import comparison, episodes
from webapp.core.episodes.records import find_parting_turn
from webapp.jobs.models import Evaluation
from webapp.teams.models import Team, User
from workers.contract.environments import EpisodeRecord
from workers.contract.events import EvaluationSample

SignIn = Callable[[User], Client]


def sample(episode: EpisodeRecord) -> EvaluationSample:
    """The sample of an episode."""
    given = comparison.sample(episode.reward, episode.transcript())
    return given.model_copy(update={"episode": episode})


@pytest.fixture
def evaluation(team: Team, alice: User) -> Evaluation:
    """Row 0: the tuned model pays the right amount. Row 1: both play alike. Two samples a row."""
    wrong, right = episodes.refund(100, "turn_limit"), episodes.refund()
    rows = [
        comparison.row("row0", [sample(wrong), sample(right)], [sample(right), sample(right)]),
        comparison.row("row1", [sample(right)] * 2, [sample(right)] * 2),
    ]
    return comparison.compare(comparison.finished_job(team, alice), rows)


def test_two_episodes_part_in_the_first_turn_that_differs() -> None:
    right = episodes.refund()
    assert find_parting_turn(right, episodes.refund()) is None
    assert find_parting_turn(right, episodes.refund(100)) == 3
    assert find_parting_turn(right, right.model_copy(update={"turns": right.turns[:2]})) == 3
    slower = right.turns[1].model_copy(update={"seconds": 9.0, "tokens": 1, "content": "{}"})
    assert find_parting_turn(right, episodes.refund(turns=[right.turns[0], slower])) == 2
    thought = right.turns[0].model_copy(update={"reasoning": "hm", "tokens": 50})
    assert find_parting_turn(right, episodes.refund(turns=[thought, *right.turns[1:]])) is None


def test_the_comparison_counts_ends_and_says_where_the_models_part(
    alice: User, evaluation: Evaluation, as_user: SignIn
) -> None:
    page = as_user(alice).get(f"{evaluation.job.get_absolute_url()}compare/")
    assert "part on 1 row, at the median in turn 3" in page.text
    assert "On 1 row they are the same." in page.text
    assert "parts in turn 3" in page.text
    assert [(end.reason, end.base, end.tuned) for end in page.context["ends"]] == [
        ("finished", 0.75, 1.0),
        ("turn_limit", 0.25, 0.0),
    ]


def test_the_list_of_rows_loads_no_episode(alice: User, evaluation: Evaluation, as_user: SignIn) -> None:
    client, url = as_user(alice), f"{evaluation.job.get_absolute_url()}compare/"
    for query in ("", "?view=table", "?ended=finished"):
        with CaptureQueriesContext(connection) as captured:
            assert client.get(url + query).status_code == 200
        rows = [each["sql"] for each in captured.captured_queries if '"parting_turn"' in each["sql"]]
        assert rows
        assert not any('"jobs_comparedrow"."episodes"' in sql for sql in rows)
    assert client.get(f"{url}?ended=turn_limit").context["page"].paginator.count == 0


def test_a_row_shows_a_pair_of_episodes_side_by_side(
    alice: User, evaluation: Evaluation, as_user: SignIn
) -> None:
    client, url = as_user(alice), f"{evaluation.job.get_absolute_url()}compare/?row="
    page = client.get(f"{url}0").text
    assert "The two episodes part in turn 3." in page
    assert page.count("differs from here") == 2
    assert page.count("Pay what was paid.") == 2
    assert "are the same in every turn" in client.get(f"{url}0&pair=2").text
    assert client.get(f"{url}0&pair=99").context["pair"].number == 1
    assert client.get(f"{url}9").context["pair"] is None


def test_a_voter_sees_episodes_but_no_reward(alice: User, evaluation: Evaluation, as_user: SignIn) -> None:
    page = as_user(alice).get(f"{evaluation.job.get_absolute_url()}compare/vote/")
    assert page.text.count("It is within 30 days.") == 2
    assert "issue_refund" in page.text
    for told in ("reward", "Pay what was paid.", "+1.000"):
        assert told not in page.text, told


def test_the_csv_has_ends_and_calls(alice: User, evaluation: Evaluation, as_user: SignIn) -> None:
    answer = as_user(alice).get(f"{evaluation.job.get_absolute_url()}compare/compare.csv")
    lines = list(csv.DictReader(io.StringIO(comparison.body(answer).decode("utf-8-sig"), newline="")))  # type: ignore[arg-type]
    columns = ("side", "ended", "turns", "tool_calls", "row_parting_turn")
    assert [lines[0][name] for name in columns] == ["base", "turn_limit", "4", "2", "3"]
    assert [lines[-1][name] for name in columns] == ["tuned", "finished", "4", "2", ""]
    assert len(lines) == 8


def test_a_repeated_evaluation_keeps_rows_with_equal_episodes(evaluation: Evaluation) -> None:
    """People's votes and notes stay with them."""
    kept = list(evaluation.compared_rows.values_list("pk", flat=True))
    right, wrong = sample(episodes.refund()), sample(episodes.refund(100, "turn_limit"))
    repeated = comparison.row("row0", [wrong, right], [right, right])
    changed = comparison.row("row1", [right] * 2, [right, wrong])
    again = comparison.compare(evaluation.job, [repeated, changed])
    assert again == evaluation
    first, second = again.compared_rows.all()
    assert first.pk == kept[0]
    assert second.pk != kept[1]
