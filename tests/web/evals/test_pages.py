"""Pages of eval runs."""

from __future__ import annotations

from collections.abc import Callable

from django.test import Client

from tests.web.evals.runs import add_item, finished_run, queued_run
from webapp.teams.models import Team, User

SignIn = Callable[[User], Client]


def test_a_run_shows_its_rows_by_status(team: Team, bob: User, as_user: SignIn) -> None:
    run = finished_run(team)
    add_item(run, 2, "pass", text="Paris <b>")
    client = as_user(bob)
    page = client.get(run.get_absolute_url()).content.decode()
    assert "Rome" in page
    assert "Paris &lt;b&gt;" in page
    passed = client.get(run.get_absolute_url(), {"status": "pass"}).content.decode()
    assert "Paris &lt;b&gt;" in passed
    assert "Rome" not in passed


def test_a_row_without_a_sample_says_why(team: Team, bob: User, as_user: SignIn) -> None:
    run = finished_run(team)
    item = run.items.get()
    item.sample = item.sample | {"output": [], "error": {"code": "invalid_input", "message": "No city."}}
    item.save()
    assert "No city." in as_user(bob).get(run.get_absolute_url()).content.decode()


def test_runs_are_found_by_the_name_of_their_eval(team: Team, bob: User, as_user: SignIn) -> None:
    run = finished_run(team)
    client, path = as_user(bob), f"/t/{team.slug}/evals/"
    assert run.get_absolute_url() in client.get(path, {"q": "capit"}).content.decode()
    assert "No run matches" in client.get(path, {"q": "rivers"}).content.decode()


def test_an_editor_cancels_a_run_that_waits(team: Team, alice: User, as_user: SignIn) -> None:
    run, client = queued_run(team), as_user(alice)
    assert "Cancel run" in client.get(run.get_absolute_url()).content.decode()
    answer = client.post(f"{run.get_absolute_url()}cancel/", follow=True).content.decode()
    assert "The run was canceled." in answer
    assert "Cancel run" not in answer
    run.refresh_from_db()
    assert run.status == "canceled"
