"""An environment at a server is connected, tested by a worker, changed, and keeps its secret."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from django.db import connection
from django.test import Client

from tests.workers.environments.servers import run_server
from webapp.datasets.models import DatasetVersion
from webapp.environments.launching import find_environment_refusal
from webapp.environments.models import Environment, EnvironmentInspection, EnvironmentVersion
from webapp.environments.servers.services import change_server, connect_server, read_definition, read_secrets
from webapp.environments.services import SourceInvalid, add_version
from webapp.graders.services import find_or_create_version
from webapp.teams.models import Team, User
from workers.bridge.environments import inspect_environment

SignIn = Callable[[User], Client]
SECRET = "s3cret-of-the-test"
VALUES = {"max_tool_calls": 20, "timeout_seconds": 60.0, "concurrency": 32}


@pytest.fixture(scope="module")
def ors() -> Iterator[str]:
    with run_server("ors_server.py") as url:
        yield url


@pytest.fixture(scope="module")
def mcp() -> Iterator[str]:
    with run_server("mcp_server.py") as url:
        yield f"{url}/mcp"


def latest(environment: Environment) -> EnvironmentVersion:
    return environment.versions.select_related("environment__team", "inspection")[0]


def ask_server(environment: Environment) -> EnvironmentInspection:
    inspection = latest(environment).inspection
    inspect_environment(inspection.pk)
    inspection.refresh_from_db()
    return inspection


def test_an_owner_connects_a_server_and_a_worker_lists_its_tools_and_tasks(
    team: Team, alice: User, as_user: SignIn, ors: str
) -> None:
    client, values = as_user(alice), {"name": "Counter", "kind": "ors", "url": ors, **VALUES}
    page = client.post(
        f"/t/{team.slug}/environments/connect/", values | {"environment": "counter"}, follow=True
    )
    assert "Connected “Counter”" in page.content.decode()
    environment = Environment.objects.get(name="Counter")
    inspection = ask_server(environment)
    assert inspection.found, inspection.error
    assert {split.name: split.count for split in inspection.found.splits} == {"train": 3, "hard": 1}
    assert inspection.found.findings == []
    shown = client.get(environment.get_absolute_url()).content.decode()
    for text in ("Add to the total.", "Create a dataset of tasks", "Save version"):
        assert text in shown
    assert "Run the oracle" not in shown


def test_a_server_that_cannot_be_used_is_explained_on_the_page(
    team: Team, alice: User, as_user: SignIn, ors: str
) -> None:
    environment = connect_server(team, alice, "ors", "Chess", url=ors, environment="chess", **VALUES)
    assert ask_server(environment).found is None
    shown = as_user(alice).get(environment.get_absolute_url()).content.decode()
    assert "the server has no environment chess." in shown
    assert "Name one of: counter, indexed." in shown


def test_the_secret_is_encrypted_hidden_and_goes_to_its_own_url_only(
    team: Team, alice: User, as_user: SignIn, mcp: str
) -> None:
    environment = connect_server(team, alice, "mcp", "Tools", url=mcp, secret=SECRET, **VALUES)
    assert ask_server(environment).found
    with connection.cursor() as cursor:
        cursor.execute("select value from environments_serversecret")
        assert SECRET not in cursor.fetchone()[0]
    first = latest(environment)
    assert SECRET not in first.source
    assert SECRET not in as_user(alice).get(environment.get_absolute_url()).content.decode()
    kept, _ = change_server(first, alice, url=mcp, **VALUES | {"concurrency": 4})
    assert read_secrets([kept]) == {read_definition(kept).secret: SECRET}
    moved, _ = change_server(kept, alice, url=f"{mcp}2", **VALUES)
    assert read_secrets([moved]) == {}
    assert read_definition(moved).secret == ""


def test_another_teams_secret_is_never_read(team: Team, alice: User, charlie: User, mcp: str) -> None:
    mine = connect_server(team, alice, "mcp", "Tools", url=mcp, secret=SECRET, **VALUES)
    stolen = connect_server(charlie.teams.get(), charlie, "mcp", "Tools", url=mcp, **VALUES)
    version = latest(stolen)
    version.source = latest(mine).source
    assert read_secrets([version]) == {}


def test_tools_alone_need_a_grader_that_reads_what_the_model_did(team: Team, alice: User, mcp: str) -> None:
    environment = connect_server(team, alice, "mcp", "Tools", url=mcp, secret=SECRET, **VALUES)
    assert ask_server(environment).found
    rewards = find_or_create_version(team, alice, {"type": "environment", "name": "reward"})
    reads = find_or_create_version(team, alice, {"type": "regex", "name": "adds", "pattern": "add"})
    assert "tools and no reward" in find_environment_refusal(latest(environment), DatasetVersion(), rewards)
    assert find_environment_refusal(latest(environment), DatasetVersion(), reads) == ""


def test_a_connection_changes_on_its_page_only(team: Team, alice: User, mcp: str) -> None:
    environment = connect_server(team, alice, "mcp", "Tools", url=mcp, **VALUES)
    with pytest.raises(SourceInvalid, match="on its page"):
        add_version(environment, alice, '{"url": "https://elsewhere.example", "secret": "envsecret_x"}')


def test_only_owners_connect_and_change(
    team: Team, alice: User, erin: User, as_user: SignIn, ors: str
) -> None:
    environment = connect_server(team, alice, "ors", "Counter", url=ors, environment="counter", **VALUES)
    client = as_user(erin)
    values = {"name": "X", "kind": "ors", "url": ors, **VALUES}
    assert client.post(f"/t/{team.slug}/environments/connect/", values).status_code == 403
    assert client.post(environment.get_absolute_url(), values).status_code == 403
    assert environment.versions.count() == 1


@pytest.mark.parametrize(
    ("url", "secret", "reason"),
    [("http://10.0.0.1", "", "not a public address"), ("http://example.com", "k", "must begin with https")],
)
def test_a_url_that_may_not_be_reached_is_refused(
    team: Team, alice: User, as_user: SignIn, url: str, secret: str, reason: str
) -> None:
    values = {"name": "X", "kind": "ors", "url": url, "secret": secret, **VALUES}
    page = as_user(alice).post(f"/t/{team.slug}/environments/connect/", values)
    assert page.status_code == 422
    assert reason in page.content.decode()
