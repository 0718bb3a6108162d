"""Permissions of checkpoints: a team lets another one ask a model, and nothing more."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.conftest import Call, make_call, make_secret
from tests.api.serving.model_server import completion, run_server
from tests.web.comparison import finished_job
from tests.web.deployments import targets
from webapp.jobs.models import Checkpoint, CheckpointPermission
from webapp.teams.models import AuditEvent, Membership, Role, Team, User

MESSAGES = [{"role": "user", "content": "Hello"}]
SHA256 = "a" * 64


@pytest.fixture
def other(alice: User) -> Team:
    """Another team, of which Alice is a viewer."""
    team = Team.objects.create(slug="other", name="Other")
    Membership.objects.create(team=team, user=alice, role=Role.VIEWER)
    return team


@pytest.fixture
def checkpoint(team: Team, alice: User) -> Checkpoint:
    job = finished_job(team, alice)
    return job.checkpoints.create(step=20, attempt=1, key="k", bytes=1, sha256="0", adapter_sha256=SHA256)


@pytest.fixture
def ask_other(other: Team, alice: User) -> Call:
    return make_call(make_secret(other, alice))


def path_of(checkpoint: Checkpoint) -> str:
    return f"/fine_tuning/checkpoints/{checkpoint.model_name}/permissions"


def test_permissions_are_created_listed_and_deleted(call: Call, checkpoint: Checkpoint, other: Team) -> None:
    created = call("POST", path_of(checkpoint), {"project_ids": ["other", "other"]}).json()
    (permission,) = created["data"]
    assert permission["object"] == "checkpoint.permission"
    assert permission["project_id"] == "other"
    again = call("POST", path_of(checkpoint), {"project_ids": ["other"]}).json()
    assert again["data"] == [permission]
    listed = call("GET", f"{path_of(checkpoint)}?order=ascending&project_id=other").json()
    assert (listed["data"], listed["has_more"]) == ([permission], False)
    assert call("GET", f"{path_of(checkpoint)}?project_id=acme").json()["data"] == []
    deleted = call("DELETE", f"{path_of(checkpoint)}/{permission['id']}").json()
    assert deleted == {"object": "checkpoint.permission", "id": permission["id"], "deleted": True}
    assert not CheckpointPermission.objects.exists()
    assert set(AuditEvent.objects.values_list("verb", flat=True)) >= {
        "shared model",
        "stopped sharing model",
    }


def test_the_other_team_asks_the_model_and_does_nothing_else_with_it(
    call: Call, ask_other: Call, checkpoint: Checkpoint
) -> None:
    name = checkpoint.model_name
    body = {"model": name, "messages": MESSAGES, "store": True}
    with run_server(checkpoint.job.base_model, SHA256) as server:
        server.body = completion(SHA256)
        assert ask_other("POST", "/chat/completions", body).status_code == 404
        call("POST", path_of(checkpoint), {"project_ids": ["other"]})
        assert ask_other("GET", f"/models/{name}").json()["owned_by"] == "acme"
        assert ask_other("POST", "/chat/completions", body).json()["choices"][0]["message"]["content"] == "Hi"
    assert ask_other("DELETE", f"/models/{name}").status_code in (403, 404)
    assert ask_other("POST", "/deployments", {"name": "mine", "model": name}).status_code in (403, 404)
    assert name not in str(ask_other("GET", "/models").json())
    assert ask_other("GET", path_of(checkpoint)).status_code == 403


def test_a_tuned_model_is_shared_as_a_checkpoint_is(call: Call, ask_other: Call, team: Team) -> None:
    name = targets.first(team).name
    call("POST", f"/fine_tuning/checkpoints/{name}/permissions", {"project_ids": ["other"]})
    assert ask_other("GET", f"/models/{name}").json()["id"] == name


@pytest.mark.parametrize("project", ["acme", "charlies", "nobody"])
def test_only_other_teams_of_the_owner_are_projects(
    call: Call, checkpoint: Checkpoint, other: Team, charlie: User, project: str
) -> None:
    refused = call("POST", path_of(checkpoint), {"project_ids": ["other", project]})
    error: dict[str, Any] = refused.json()["error"]
    assert (refused.status_code, error["param"], error["code"]) == (400, "project_ids", "invalid_value")
    assert not CheckpointPermission.objects.exists()


def test_a_base_model_is_no_checkpoint(call: Call, checkpoint: Checkpoint) -> None:
    base = checkpoint.job.base_model.model_id
    missing = call("GET", f"/fine_tuning/checkpoints/{base}/permissions")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")
