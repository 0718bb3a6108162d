"""The comparison: numbers with intervals, rows to sort and search, everything as CSV."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from collections.abc import Callable
from math import ceil
from statistics import stdev

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from tests.web.comparison import body, compare, finished_job, row, sample
from webapp.core.streaming import defuse_formula
from webapp.jobs.models import Job
from webapp.teams.models import User
from workers.contract.events import EvaluationRow, EvaluationSample

Answering = Callable[[int], list[EvaluationSample]]
SignIn = Callable[[User], Client]
ATTACK = "<script>alert(1)</script>"
ROWS = [
    row("better", [sample(0.2, "old words"), sample(0.2, "also old")], [sample(1.0, "new words")] * 2),
    row("worse", [sample(0.9, ATTACK)] * 2, [sample(0.4, "=HYPERLINK(1)"), sample(0.4, 'says "quoted"')]),
    row("same", [sample(0.5, "a")] * 2, [sample(0.5, "a"), sample(0.5, "b")]),
    row("broken", [sample(None, "c"), sample(None, "d")], [sample(0.7, "e"), sample(0.7, "f")]),
]  # fmt: skip


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
        assert f"{getattr(evaluation.base.reward, bound):.3f}" in page
        assert f"{getattr(evaluation.tuned.reward, bound):.3f}" in page
        assert f"{getattr(evaluation.difference, bound):+.3f}" in page
    assert "The interval lies above 0" in page
    assert "95 % intervals" in page
    assert "These are test rows: training never saw them" in page
    assert "With more answers per row" in page


def test_the_figure_reads_aloud_and_stays_in_its_frame(job: Job, bob: User, as_user: SignIn) -> None:
    """Rewards outside 0 to 1 widen the axis."""
    compare(job, [row("far", [sample(-2.0, "a")], [sample(3.0, "b")])])
    answer = as_user(bob).get(address(job))
    assert 'aria-label="Mean reward. Base -2.000, 95 % interval -2.050 to -1.950. Tuned 3.000' in answer.text
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
    ],
)
def test_text_is_searched_in_prompts_and_answers(
    job: Job, bob: User, as_user: SignIn, text: str, rows: list[str]
) -> None:
    compare(job, ROWS)
    assert shown(as_user(bob), job, text=text) == rows


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ({"row": "1"}, ["worse"]),
        ({"row": "99999999999999999999"}, []),
        ({"least": "0.6"}, ["better", "broken"]),
        ({"least": "0.45", "most": "0.6"}, ["same"]),
        ({"shortest": "2", "longest": "9"}, ["better"]),
        ({"task": "orders"}, []),
        ({"show": "loss", "most": "0.5"}, ["worse"]),
        ({"least": "nan", "longest": "far"}, ["better", "worse", "same", "broken"]),
    ],
)
def test_rows_are_found_by_what_they_are_and_the_csv_has_the_same(
    job: Job, bob: User, as_user: SignIn, query: dict[str, str], rows: list[str]
) -> None:
    compare(job, ROWS)
    client = as_user(bob)
    assert shown(client, job, **query) == rows
    page = client.get(address(job), query)
    link = re.search(r'href="([^"]*compare.csv[^"]*)"', page.text)
    assert link
    lines = csv.DictReader(io.StringIO(body(client.get(html.unescape(link[1]))).decode(), newline=""))
    assert list(dict.fromkeys(line["row_id"] for line in lines)) == rows


def test_rows_are_found_by_their_task(job: Job, bob: User, as_user: SignIn) -> None:
    compare(job, [row(f"{task}/1", [sample(0.1, "a")], [sample(0.2, "b")]) for task in ("orders", "mails")])
    assert shown(as_user(bob), job, task="mails") == ["mails/1"]


def test_what_models_write_is_text(job: Job, bob: User, as_user: SignIn) -> None:
    compare(job, ROWS)
    page = as_user(bob).get(address(job), {"text": ATTACK}).text
    assert ATTACK not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_the_difference_names_answers_that_are_on_the_page(job: Job, bob: User, as_user: SignIn) -> None:
    compare(job, ROWS)
    page = as_user(bob).get(address(job)).text
    for index in range(len(ROWS)):
        assert f'data-marks="base-{index} tuned-{index}"' in page
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
    assert [(line["side"], line["sample"]) for line in worse] == [
        ("base", "1"), ("base", "2"), ("tuned", "1"), ("tuned", "2"),
    ]  # fmt: skip
    assert worse[2]["completion"] == "'=HYPERLINK(1)"
    assert worse[2]["sub_reward.value"] == "0.4"
    assert float(worse[2]["row_change"]) == pytest.approx(-0.5)
    assert next(line for line in lines if line["row_id"] == "broken")["reward"] == ""


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@a", "\t=1", "\r=1", " =1", "\n=1"])
def test_no_cell_starts_a_formula(text: str) -> None:
    assert str(defuse_formula(text)).startswith("'")
    assert defuse_formula(-0.5) == -0.5


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
        assert len(shown(client, job)) == 10
    assert len(many) == len(few) <= 14
    assert shown(client, job, page="7") == [str(number) for number in range(60, 70)]


# --- what was gained, what was lost ----------------------------------------------------------------


def answers(*rewards: float, tokens: int = 10) -> list[EvaluationSample]:
    """Answers of a row with these rewards, each so many tokens long."""
    return [sample(reward, "x" * tokens) for reward in rewards]


def many(number: int, base: Answering, tuned: Answering) -> list[EvaluationRow]:
    """Rows whose answers depend on their place."""
    return [row(f"r{place}", base(place), tuned(place)) for place in range(number)]


LEDGER = [
    row("new", answers(0, 0), answers(1, 0)),
    row("gone", answers(0, 1), answers(0, 0)),
    row("kept", answers(1, 0), answers(1, 1)),
    row("never", answers(0, 0.5), answers(0.5, 0)),
]


def verdict(client: Client, job: Job) -> str:
    """The first thing the page says, with its reservations."""
    said = client.get(address(job)).context["verdict"]
    return " ".join([said.title, *said.sentences])


def test_the_page_says_first_in_words_whether_training_helped(job: Job, bob: User, as_user: SignIn) -> None:
    client = as_user(bob)
    better = many(250, lambda n: answers(n % 2, 0), lambda n: answers(1, 1))
    compare(job, better)
    assert verdict(client, job).startswith("Training helped. The mean reward went from 0.250 to 1.000.")
    page = client.get(address(job)).text
    assert page.index("Training helped.") < page.index("Mean reward</span>")
    compare(job, many(250, lambda n: answers(1, 1), lambda n: answers(n % 2, 0)))
    assert verdict(client, job).startswith("Training made the model worse.")


def test_a_test_too_small_to_tell_says_what_it_could_have_seen(job: Job, bob: User, as_user: SignIn) -> None:
    rows = many(40, lambda n: answers(0.5), lambda n: answers(0.0 if n % 2 else 1.0))
    kept = compare(job, rows)
    said = verdict(as_user(bob), job)
    assert said.startswith("These rows do not show whether training helped.")
    deviation = stdev(row.change for row in kept.compared_rows.all())
    assert f"A true gain of {2.8 * deviation / 40**0.5:.3f} would have shown" in said
    assert f"test {ceil((2.8 * deviation / 0.02) ** 2):,} rows" in said


def test_few_rows_make_every_number_a_hint(job: Job, bob: User, as_user: SignIn) -> None:
    client = as_user(bob)
    compare(job, LEDGER)
    said = verdict(client, job)
    assert said.startswith("Fewer than 20 rows cannot show whether training helped.")
    assert "No interval is shown below 20 rows" in said
    assert "too narrow" not in client.get(address(job)).text
    compare(job, many(50, lambda n: answers(0, n % 2), lambda n: answers(1, n % 2)))
    assert "Only 50 rows: below about 200 such intervals are too narrow" in verdict(client, job)
    assert "With 50 rows all intervals here are somewhat too narrow" in client.get(address(job)).text
    compare(job, many(200, lambda n: answers(0, n % 2), lambda n: answers(1, n % 2)))
    assert "too narrow" not in client.get(address(job)).text


def test_a_gain_that_longer_answers_explain_is_named_as_such(job: Job, bob: User, as_user: SignIn) -> None:
    client = as_user(bob)

    def bought(place: int) -> list[EvaluationSample]:
        return answers(0.2 + 0.02 * (place % 20), tokens=10 + place % 20)

    compare(job, many(200, lambda n: answers(0.2), bought))
    said = verdict(client, job)
    assert "Training helped, with reservations." in said
    assert "At equal length the gain is" in said
    compare(
        job, many(200, lambda n: answers(0.2 + 0.01 * (n % 3)), lambda n: answers(0.8, tokens=10 + n % 20))
    )
    assert "At equal length" not in verdict(client, job)


def test_answers_that_nobody_could_grade_take_something_from_a_gain(
    job: Job, bob: User, as_user: SignIn
) -> None:
    ungraded = [sample(1.0, "a"), sample(None, "{")]
    compare(job, many(50, lambda n: answers(0, n % 2), lambda n: ungraded))
    said = verdict(as_user(bob), job)
    assert said.startswith("Training helped, with reservations.")
    assert "50.0% of the tuned model's answers have no grade, compared with 0.0% before" in said


def test_the_ledger_shows_rows_gained_and_lost_with_their_text(job: Job, bob: User, as_user: SignIn) -> None:
    compare(job, LEDGER)
    client = as_user(bob)
    gained, lost = client.get(address(job)).context["ledger"]
    assert ([each.row_id for each in gained.rows], gained.count) == (["new"], 1)
    assert ([each.row_id for each in lost.rows], lost.count) == (["gone"], 1)
    page = client.get(address(job)).text
    assert (
        "What is in invoice gone?"
        in page[page.index("No longer solved: 1") : page.index('<h2 id="rows-title"')]
    )
    assert f"show={gained.show}#rows-title" in page
    assert shown(client, job, show="gained") == ["new"]
    assert shown(client, job, show="lost") == ["gone"]


def test_the_ledger_says_what_luck_alone_would_do(job: Job, bob: User, as_user: SignIn) -> None:
    """A row's one right answer is as often tuned's as base's; three of four never fit into one side."""
    compare(job, LEDGER)
    _, lost = as_user(bob).get(address(job)).context["ledger"]
    assert lost.by_chance == pytest.approx(1 / 2 + 1 / 2)


def test_a_base_that_solves_more_with_more_tries_is_shown_to_overtake(
    job: Job, bob: User, as_user: SignIn
) -> None:
    """Tuned always solves half of the rows; base sometimes solves all."""
    rows = many(200, lambda n: answers(1, 0, 0, 0), lambda n: answers(*[float(n % 2)] * 4))
    compare(job, rows)
    client = as_user(bob)
    answer = client.get(address(job))
    curves = answer.context["curves"]
    assert (curves.crossover, curves.trusted_k, len(curves.points)) == (3, 2, 4)
    assert [p.base.mean for p in curves.points] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert [p.tuned.mean for p in curves.points] == pytest.approx([0.5] * 4)
    assert "overtakes at k = 3, where estimates are noisy, and beyond noise." in answer.text
    assert "From 3 answers per row on, the base model is ahead, and beyond noise" in verdict(client, job)
    drawing = json.loads(answer.context["curves_json"])
    assert [mark["label"] for mark in drawing["marks"]] == ["reliable up to k = 2", "Base overtakes"]
    assert [mark["x"] for mark in drawing["marks"]] == [2, 3]
    for side in drawing["series"]:
        bands = zip(side["low"], side["mean"], side["high"], strict=True)
        assert all(low <= mean <= high for low, mean, high in bands)


def test_mcnemars_table_counts_the_first_answers(job: Job, bob: User, as_user: SignIn) -> None:
    rows = [
        *many(6, lambda n: answers(0, 1), lambda n: answers(1, 0)),
        *[row("only base", answers(1, 0), answers(0, 1)), row("broken", [sample(None, "a")], answers(1))],
    ]
    kept = compare(job, rows)
    table = kept.comparison.mcnemar
    assert (table.only_tuned, table.only_base, table.both, table.neither) == (6, 1, 0, 0)
    assert table.p_value == pytest.approx(2 * (1 + 7) / 2**7)
    assert "McNemar's exact test: p = 0.125" in as_user(bob).get(address(job)).text


def test_every_number_can_be_taken_along(job: Job, bob: User, as_user: SignIn) -> None:
    kept = compare(job, LEDGER)
    client = as_user(bob)
    assert client.get(address(job, "numbers")).headers["Content-Disposition"].endswith('.json"')
    numbers = client.get(address(job, "numbers")).json()
    assert (numbers["gained"], numbers["lost"], numbers["confidence"]) == (["new"], ["gone"], 0.95)
    assert numbers["comparison"] == kept.comparison.model_dump(mode="json")
    lines = csv.DictReader(io.StringIO(body(client.get(address(job, "csv"))).decode(), newline=""))
    ledger = {line["row_id"]: (line["row_base_right"], line["row_coverage"]) for line in lines}
    assert ledger == {"new": ("0", "gained"), "gone": ("1", "lost"), "kept": ("1", ""), "never": ("0", "")}


def test_a_comparison_with_one_answer_a_row_has_no_curve(job: Job, bob: User, as_user: SignIn) -> None:
    compare(job, [row("only", answers(0), answers(1))])
    answer = as_user(bob).get(address(job))
    assert answer.context["curves"] is None
    assert "Not available: all rows changed equally." in answer.text


def test_nothing_is_claimed_when_no_row_was_graded_for_both(job: Job, bob: User, as_user: SignIn) -> None:
    compare(job, LEDGER[:1])
    job.evaluations.update(comparison=None, difference=None, wins=0, ties=0, losses=0)
    client = as_user(bob)
    assert verdict(client, job) == "No result: no row was graded for both models."
    assert "ledger" not in client.get(address(job)).context
