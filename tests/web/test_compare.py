"""The comparison: numbers with intervals, rows to sort and search, everything as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from tests.web.comparison import body, compare, finished_job, row, sample
from webapp.evaluations.presenters import inert
from webapp.jobs.models import Job
from webapp.teams.models import Team, User

SignIn = Callable[[User], Client]
ATTACK = "<script>alert(1)</script>"
ROWS = [
    row("better", [sample(0.2, "old words"), sample(0.2, "also old")], [sample(1.0, "new words")] * 2),
    row("worse", [sample(0.9, ATTACK)] * 2, [sample(0.4, "=HYPERLINK(1)"), sample(0.4, 'says "quoted"')]),
    row("same", [sample(0.5, "a")] * 2, [sample(0.5, "a"), sample(0.5, "b")]),
    row("broken", [sample(None, "c"), sample(None, "d")], [sample(0.7, "e"), sample(0.7, "f")]),
]  # fmt: skip


@pytest.fixture
def job(team: Team, alice: User) -> Job:
    return finished_job(team, alice)


def address(job: Job, name: str = "compare") -> str:
    return reverse(f"evaluations:{name}", args=[job.team.slug, job.uid])


def shown(client: Client, job: Job, **query: str) -> list[str]:
    """Ids of the rows on the page, in order."""
    page = client.get(address(job), query).context["page"]
    return [each.row_id for each in page]


def test_before_the_end_there_is_nothing_to_compare(job: Job, bob: User, as_user: SignIn) -> None:
    answer = as_user(bob).get(address(job))
    assert "made once, at the end, on rows that training never saw" in answer.text
    assert job.get_absolute_url() in answer.text
    assert as_user(bob).get(address(job, "csv")).status_code == 404


def test_means_come_with_intervals_and_a_verdict(job: Job, bob: User, as_user: SignIn) -> None:
    evaluation = compare(job, ROWS)
    page = as_user(bob).get(address(job)).text
    for bound in ("mean", "low", "high"):
        assert f"{evaluation.base['reward'][bound]:.3f}" in page
        assert f"{evaluation.tuned['reward'][bound]:.3f}" in page
        assert f"{evaluation.difference[bound]:+.3f}" in page
    assert "The interval lies above 0" in page
    assert "95 % intervals" in page
    assert "The test split is sealed" in page
    assert "pass@8" in page


def test_the_figure_reads_aloud_and_stays_in_its_frame(job: Job, bob: User, as_user: SignIn) -> None:
    """Rewards outside 0 to 1 widen the axis."""
    compare(job, [row("far", [sample(-2.0, "a")], [sample(3.0, "b")])])
    answer = as_user(bob).get(address(job))
    assert 'aria-label="Mean reward. Base -2.000, interval -2.050 to -1.950. Tuned 3.000' in answer.text
    places = [
        float(place.rstrip("%")) for bar in answer.context["figure"].bars for place in (bar.low, bar.high)
    ]
    assert 0 < min(places) < max(places) < 100


def test_rows_sort_by_change_and_by_either_model(job: Job, bob: User, as_user: SignIn) -> None:
    """A row without a grade comes last both ways."""
    compare(job, ROWS)
    client = as_user(bob)
    assert shown(client, job) == ["better", "worse", "same", "broken"]
    assert shown(client, job, sort="change") == ["worse", "same", "better", "broken"]
    assert shown(client, job, sort="-change") == ["better", "same", "worse", "broken"]
    assert shown(client, job, sort="base") == ["better", "same", "worse", "broken"]
    assert shown(client, job, sort="-tuned") == ["better", "broken", "same", "worse"]
    assert shown(client, job, sort="; drop table") == ["better", "worse", "same", "broken"]


def test_rows_filter_by_outcome(job: Job, bob: User, as_user: SignIn) -> None:
    compare(job, ROWS)
    client = as_user(bob)
    found = {show: shown(client, job, show=show) for show in ("win", "tie", "loss", "ungraded")}
    assert found == {"win": ["better"], "tie": ["same"], "loss": ["worse"], "ungraded": ["broken"]}


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("INVOICE WORSE", ["worse"]),  # the prompt
        ("also old", ["better"]),  # a later answer of the base model
        ('"quoted"', ["worse"]),
        ("reward", []),  # names of fields are no text
        ("100%", []),  # a wildcard of SQL is a character
        ("nul\0", []),
    ],
)
def test_text_is_searched_in_prompts_and_answers(
    job: Job, bob: User, as_user: SignIn, text: str, rows: list[str]
) -> None:
    compare(job, ROWS)
    assert shown(as_user(bob), job, text=text) == rows


def test_what_models_write_is_text(job: Job, bob: User, as_user: SignIn) -> None:
    compare(job, ROWS)
    page = as_user(bob).get(address(job), {"text": ATTACK}).text
    assert ATTACK not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_the_difference_names_answers_that_are_on_the_page(job: Job, bob: User, as_user: SignIn) -> None:
    compare(job, ROWS)
    page = as_user(bob).get(address(job)).text
    for index in range(len(ROWS)):
        assert f'data-diff="base-{index} tuned-{index}"' in page
        assert page.count(f'id="base-{index}"') == page.count(f'id="tuned-{index}"') == 1


def test_the_comparison_after_training_comes_first(job: Job, bob: User, as_user: SignIn) -> None:
    after = compare(job, ROWS[:1])
    during = compare(job, ROWS[2:3], stage="during", split="validation")
    client = as_user(bob)
    assert client.get(address(job)).context["evaluation"] == after
    assert shown(client, job, evaluation=str(during.pk)) == ["same"]
    assert "These are validation rows" in client.get(address(job), {"evaluation": during.pk}).text


def test_another_jobs_comparison_cannot_be_chosen(job: Job, alice: User, as_user: SignIn) -> None:
    own = compare(job, ROWS[:1])
    other = compare(finished_job(job.team, alice, "Other"), ROWS[1:2])
    answer = as_user(alice).get(address(job), {"evaluation": other.pk})
    assert answer.context["evaluation"] == own


def test_the_csv_has_every_answer_and_no_formula(job: Job, bob: User, as_user: SignIn) -> None:
    compare(job, ROWS)
    answer = as_user(bob).get(address(job, "csv"))
    lines = list(csv.DictReader(io.StringIO(body(answer).decode(), newline="")))
    assert len(lines) == 4 * 2 * 2
    worse = [line for line in lines if line["row_id"] == "worse"]
    assert [(line["arm"], line["sample"]) for line in worse] == [
        ("base", "1"), ("base", "2"), ("tuned", "1"), ("tuned", "2"),
    ]  # fmt: skip
    assert worse[2]["completion"] == "'=HYPERLINK(1)"
    assert worse[2]["sub_reward.value"] == "0.4"
    assert float(worse[2]["row_change"]) == pytest.approx(-0.5)
    assert next(line for line in lines if line["row_id"] == "broken")["reward"] == ""


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@a", "\t=1", "\r=1", " =1", "\n=1"])
def test_no_cell_starts_a_formula(text: str) -> None:
    assert str(inert(text)).startswith("'")
    assert inert(-0.5) == -0.5


def test_the_page_asks_the_database_little(job: Job, bob: User, as_user: SignIn) -> None:
    """As often for many rows as for one; long lists are paged."""
    client = as_user(bob)
    compare(job, ROWS[:1])
    with CaptureQueriesContext(
        connection,
    ) as few:
        client.get(address(job))
    compare(job, [row(f"{number}", [sample(0.1, "a")], [sample(0.2, "b")]) for number in range(70)])
    with CaptureQueriesContext(connection) as many:
        assert len(shown(client, job)) == 20
    assert len(many) == len(few) <= 9
    assert shown(client, job, page="4") == [str(number) for number in range(60, 70)]
