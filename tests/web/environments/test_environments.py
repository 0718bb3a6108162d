"""An environment is written, versioned, checked in the sandbox, deleted and restored."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from webapp.environments.models import Environment, EnvironmentInspection
from webapp.environments.services import SourceInvalid, add_version, create_environment
from webapp.teams.models import Team, User
from workers.bridge.environments import inspect_environment
from workers.environments.examples import list_examples

SignIn = Callable[[User], Client]
State = EnvironmentInspection.State
SOURCE = list_examples()[0].source


@pytest.fixture
def environment(team: Team, alice: User) -> Environment:
    return create_environment(team, alice, "Numbers", SOURCE)


def inspect(environment: Environment) -> EnvironmentInspection:
    inspection = environment.versions.select_related("inspection").first().inspection  # type: ignore[union-attr]
    inspect_environment(inspection.pk)
    inspection.refresh_from_db()
    return inspection


def test_an_inspection_lists_tools_splits_and_tasks_on_the_page(
    environment: Environment, alice: User, as_user: SignIn
) -> None:
    inspection = inspect(environment)
    assert inspection.state == State.FINISHED, inspection.error
    assert inspection.found
    assert [split.name for split in inspection.found.splits] == ["train", "validation", "test"]
    assert inspection.found.required == inspection.found.fields == ["seed"]
    page = as_user(alice).get(environment.get_absolute_url()).content.decode()
    for shown in ("guess", "Guess the number.", "train", "Run the oracle", "Create a dataset of tasks"):
        assert shown in page


def test_a_version_that_cannot_run_says_line_cause_and_remedy(
    environment: Environment, alice: User, as_user: SignIn
) -> None:
    add_version(environment, alice, SOURCE.replace("HIGHEST = 100", "HIGHEST = 1 / 0"))
    inspection = inspect(environment)
    assert (inspection.state, inspection.found) == (State.FAILED, None)
    assert inspection.error
    assert "Line 5:" in inspection.error.message
    assert "ZeroDivisionError" in inspection.error.message
    page = as_user(alice).get(environment.get_absolute_url()).content.decode()
    assert "This version cannot run" in page
    assert "Line 5:" in page


def test_versions_are_numbered_compared_and_made_of_changes_only(
    environment: Environment, alice: User, as_user: SignIn
) -> None:
    client, changed = as_user(alice), SOURCE.replace("Correct.", "Yes.")
    page = client.post(environment.get_absolute_url(), {"source": SOURCE}, follow=True)
    assert "Nothing changed since version 1." in page.content.decode()
    client.post(environment.get_absolute_url(), {"source": changed, "note": "Say yes"})
    newest = environment.versions.first()
    assert newest
    assert (newest.number, newest.note, newest.source) == (2, "Say yes", changed)
    compared = client.get(newest.get_absolute_url())
    assert compared.context["before"].number == 1
    assert "Changes from v1 to v2" in compared.content.decode()


@pytest.mark.parametrize("source", ["class X: pass", "def f(:\n", ""])
def test_a_text_that_is_no_environment_is_not_saved_and_stays_in_the_editor(
    environment: Environment, alice: User, as_user: SignIn, source: str
) -> None:
    answer = as_user(alice).post(environment.get_absolute_url(), {"source": source})
    assert answer.status_code == 422
    assert answer.context["form"]["source"].value() == source
    assert environment.versions.count() == 1
    if source:
        with pytest.raises(SourceInvalid, match="Line 1"):
            add_version(environment, alice, source)


def test_a_deleted_environment_is_listed_apart_and_restored(
    environment: Environment, team: Team, alice: User, as_user: SignIn
) -> None:
    client, home = as_user(alice), f"/t/{team.slug}/environments/"
    undo = client.post(f"{environment.get_absolute_url()}delete/", follow=True)
    assert "Environment deleted" in undo.content.decode()
    assert list(client.get(home).context["page"]) == []
    refused = client.post(environment.get_absolute_url(), {"source": SOURCE + "\n"})
    assert "This environment is deleted." in refused.content.decode()
    client.post(f"{environment.get_absolute_url()}restore/")
    assert [each.name for each in client.get(home).context["page"]] == ["Numbers"]


def test_the_editor_underlines_a_problem_without_running_the_text(
    team: Team, alice: User, as_user: SignIn
) -> None:
    url = f"/t/{team.slug}/environments/lint/"
    assert as_user(alice).post(url, {"source": SOURCE}).json() == {"problems": []}
    (problem,) = as_user(alice).post(url, {"source": "import os\nos._exit(1"}).json()["problems"]
    assert problem["line"] == 2


def test_a_name_and_a_description_find_an_environment(
    environment: Environment, team: Team, alice: User, as_user: SignIn
) -> None:
    client, home = as_user(alice), f"/t/{team.slug}/environments/"
    client.post(f"{environment.get_absolute_url()}describe/", {"name": "Games", "description": "Find it"})
    for text, found in (("GAME", ["Games"]), ("find", ["Games"]), ("other", [])):
        assert [each.name for each in client.get(home, {"q": text}).context["page"]] == found
