"""Notes on compared rows: editors write them, the team reads them, changed completions delete them."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from tests.web.comparison import body, compare, finished_job, row, sample
from webapp.evaluations.models import Note
from webapp.jobs.models import Evaluation, Job
from webapp.teams.models import Team, User
from workers.contract.events import EvaluationRow

SignIn = Callable[[User], Client]
ATTACK = "<script>alert(1)</script>"


def rows(second: str = "tuned") -> list[EvaluationRow]:
    return [
        row("first", [sample(0.2, "base")], [sample(0.9, "tuned")]),
        row("second", [sample(0.2, "base")], [sample(0.9, second)]),
    ]


@pytest.fixture
def evaluation(team: Team, alice: User) -> Evaluation:
    return compare(finished_job(team, alice), rows())


def page(evaluation: Evaluation, name: str = "compare") -> str:
    return reverse(f"evaluations:{name}", args=[evaluation.job.team.slug, evaluation.job.uid])


def note(client: Client, evaluation: Evaluation, text: str, index: int = 0, **options: Any) -> Any:
    noted = evaluation.compared_rows.get(index=index)
    address = reverse("evaluations:note", args=[evaluation.job.team.slug, evaluation.job.uid, noted.pk])
    return client.post(f"{address}?show=win&page=1", {"text": text}, **options)


def test_a_note_is_read_by_the_team_where_it_was_written(
    evaluation: Evaluation, alice: User, bob: User, as_user: SignIn
) -> None:
    answer = note(as_user(alice), evaluation, f"  Wrong currency.\r\n{ATTACK} ", index=1)
    assert answer.url == f"{page(evaluation)}?show=win&page=1#row-1"
    shown = as_user(bob).get(page(evaluation)).text
    assert "Wrong currency.\n&lt;script&gt;" in shown
    assert alice.email in shown
    assert "Add a note" not in shown, "a viewer reads"
    assert note(as_user(bob), evaluation, "mine").status_code == 403


def test_one_changes_and_removes_ones_own_note_alone(
    evaluation: Evaluation, alice: User, erin: User, as_user: SignIn
) -> None:
    for author, text in ((alice, "first"), (erin, "theirs"), (alice, "second")):
        note(as_user(author), evaluation, text)
    assert {each.text for each in Note.objects.all()} == {"second", "theirs"}
    note(as_user(alice), evaluation, " ")
    assert [each.text for each in Note.objects.all()] == ["theirs"]


def test_a_note_stays_on_the_page_while_others_are_written(
    evaluation: Evaluation, alice: User, as_user: SignIn
) -> None:
    part = note(as_user(alice), evaluation, "Check the VAT.", headers={"HX-Request": "true"}).text
    assert part.strip().startswith('<section id="notes-0"')
    assert "Check the VAT." in part
    assert "Change your note" in part


def test_a_note_too_long_is_refused_with_its_text_kept(
    evaluation: Evaluation, alice: User, as_user: SignIn
) -> None:
    client, text = as_user(alice), "x" * (Note.LONGEST + 1)
    part = note(client, evaluation, text, headers={"HX-Request": "true"}).text
    assert "it has 2,001 characters of at most 2,000" in part
    assert text in part
    assert "2,001 characters" in client.get(note(client, evaluation, text).url).text
    assert not Note.objects.exists()


def test_noted_rows_are_found_and_leave_as_csv(evaluation: Evaluation, alice: User, as_user: SignIn) -> None:
    client = as_user(alice)
    note(client, evaluation, "Two\nlines", index=1)
    found = client.get(page(evaluation), {"show": "noted"}).context["page"]
    assert [each.row_id for each in found] == ["second"]
    lines = list(csv.DictReader(io.StringIO(body(client.get(page(evaluation, "csv"))).decode("utf-8-sig"))))
    assert {line["row_id"]: line["row_notes"] for line in lines} == {
        "first": "", "second": f"{alice.email}: Two\nlines",
    }  # fmt: skip


def test_what_people_said_stays_while_the_answers_stay(
    evaluation: Evaluation, alice: User, as_user: SignIn
) -> None:
    """A worker that reports the same comparison again takes nothing back; a new answer does."""
    for index in (0, 1):
        note(as_user(alice), evaluation, f"about {index}", index=index)
    job = Job.objects.get()
    compare(job, rows())
    assert Note.objects.count() == 2
    compare(job, rows(second="something else"))
    assert [each.text for each in Note.objects.all()] == ["about 0"]


def test_another_jobs_row_takes_no_note(evaluation: Evaluation, alice: User, as_user: SignIn) -> None:
    other = compare(finished_job(evaluation.job.team, alice, "Other"), rows())
    foreign = other.compared_rows.get(index=0)
    address = reverse("evaluations:note", args=[evaluation.job.team.slug, evaluation.job.uid, foreign.pk])
    assert as_user(alice).post(address, {"text": "x"}).status_code == 404
