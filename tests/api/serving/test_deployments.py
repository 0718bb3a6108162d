"""Deployments by the API."""

from __future__ import annotations

from tests.api.conftest import Call
from tests.web.deployments.targets import first, second
from webapp.teams.models import Team


def test_a_deployment_is_created_promoted_rolled_back_and_listed(team: Team, call: Call) -> None:
    one, two = first(team), second(team)
    made = call("POST", "/deployments", {"name": "invoices", "model": one.name}).json()
    assert (made["object"], made["name"], made["stable"]["number"]) == ("deployment", "invoices", 1)
    promoted = call("POST", "/deployments/invoices/promote", {"model": two.name}).json()
    assert promoted["stable"]["adapter_sha256"] == "b" * 64
    rollback = {"from_version": promoted["stable"]["id"], "reason": "slow"}
    assert call("POST", "/deployments/invoices/rollback", rollback).json()["stable"] == made["stable"]
    again = call("POST", "/deployments/invoices/promote", {"version": promoted["stable"]["id"]})
    assert again.json()["stable"]["number"] == 2
    log = call("GET", f"/deployments/{made['id']}/promotions?order=asc").json()["data"]
    assert [each["kind"] for each in log] == ["promote", "promote", "rollback", "promote"]
    assert log[2]["reason"] == "slow"
    assert call("GET", "/deployments").json()["data"] == [call("GET", "/deployments/invoices").json()]


def test_mistakes_name_the_field(team: Team, call: Call) -> None:
    name = first(team).name
    call("POST", "/deployments", {"name": "invoices", "model": name})
    wrong = {
        "name": {"name": "invoices", "model": name},
        "model": {"name": "other", "model": "no such model"},
    }
    for param, body in wrong.items():
        assert call("POST", "/deployments", body).json()["error"]["param"] == param
    answer = call("POST", "/deployments/invoices/rollback", {})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "no_rollback")
    assert call("POST", "/deployments/invoices/promote", {}).status_code == 400


def test_viewers_read_and_strangers_find_nothing(
    team: Team, call: Call, viewer_call: Call, stranger_call: Call
) -> None:
    name = first(team).name
    call("POST", "/deployments", {"name": "invoices", "model": name})
    assert viewer_call("GET", "/deployments/invoices").status_code == 200
    assert viewer_call("POST", "/deployments/invoices/rollback", {}).status_code == 403
    assert stranger_call("GET", "/deployments").json()["data"] == []
    for method, path, body in (
        ("GET", "/invoices", None),
        ("GET", "/invoices/promotions", None),
        ("POST", "/invoices/promote", {"model": name}),
        ("POST", "/invoices/rollback", {}),
    ):
        assert stranger_call(method, f"/deployments{path}", body).status_code == 404
    assert stranger_call("POST", "/deployments", {"name": "x", "model": name}).status_code == 404
