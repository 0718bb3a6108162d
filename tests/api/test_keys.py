"""Keys: who may do what, when a key stops working, and how often it may call."""

from __future__ import annotations

import logging
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from tests.api.conftest import Call, make_call, make_secret
from webapp.core.request_ids import RequestIdFilter
from webapp.keys import limits
from webapp.keys.models import ApiKey, Scope
from webapp.keys.services import create_key, revoke_key
from webapp.teams.models import AuditEvent, Membership, Role, Team, User

pytestmark = pytest.mark.usefixtures("sample")
ROUTES = {Scope.READ: ("GET", "/read"), Scope.WRITE: ("POST", "/write"), Scope.INFERENCE: ("POST", "/infer")}


def statuses(call: Call) -> dict[Scope, int]:
    return {
        scope: call(method, f"/sample{path}", {} if scope == Scope.WRITE else None).status_code
        for scope, (method, path) in ROUTES.items()
    }


@pytest.mark.parametrize("scope", Scope)
def test_a_key_does_what_its_scope_names_and_nothing_else(team: Team, alice: User, scope: Scope) -> None:
    answers = statuses(make_call(make_secret(team, alice, scope)))
    assert answers == {each: 200 if each == scope else 403 for each in Scope}


def test_the_key_of_a_viewer_reads_and_infers_but_cannot_write(viewer_call: Call) -> None:
    assert statuses(viewer_call) == {Scope.READ: 200, Scope.WRITE: 403, Scope.INFERENCE: 200}
    assert "role of editor" in viewer_call("POST", "/sample/write", {}).json()["error"]["message"]


def test_a_key_follows_the_role_of_its_user(team: Team, bob: User, viewer_call: Call) -> None:
    Membership.objects.filter(user=bob).update(role=Role.EDITOR)
    assert viewer_call("POST", "/sample/write", {}).status_code == 200
    Membership.objects.filter(user=bob).delete()
    assert viewer_call("GET", "/sample/read").status_code == 401


def test_a_service_key_outlives_the_membership_of_who_created_it(team: Team, alice: User) -> None:
    call = make_call(create_key(team, alice, "CI", Scope, personal=False)[1])
    Membership.objects.filter(user=alice).delete()
    assert call("GET", "/sample/read").json() == {"team": team.slug, "user": None}
    assert call("POST", "/sample/write", {}).status_code == 200


def test_an_expired_or_revoked_key_is_refused(team: Team, alice: User, secret: str, call: Call) -> None:
    key = ApiKey.objects.get()
    assert call("GET", "/sample/read").status_code == 200
    ApiKey.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert call("GET", "/sample/read").status_code == 401
    ApiKey.objects.update(expires_at=timezone.now() + timedelta(hours=1))
    assert call("GET", "/sample/read").status_code == 200
    revoke_key(key, alice)
    answer = call("GET", "/sample/read")
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer sk-groove-wrong", "Basic YTpi", "Bearer \u0100"]
)
def test_a_missing_or_wrong_key_is_refused(db: None, client: object, header: str | None) -> None:
    headers = {} if header is None else {"authorization": header}
    answer = client.get("/v1/sample/read", headers=headers)  # type: ignore[attr-defined]
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")


def test_the_audit_trail_has_creation_new_addresses_and_revocation(
    team: Team, alice: User, call: Call
) -> None:
    for address in ("192.0.2.1", "192.0.2.1", "2001:db8::1"):
        call("GET", "/sample/read", REMOTE_ADDR=address)
    key = ApiKey.objects.get()
    assert key.last_used_at is not None
    revoke_key(key, alice)
    revoke_key(key, alice)
    name = f"test (…{key.hint})"
    assert list(
        AuditEvent.objects.filter(verb__contains="key").order_by("pk").values_list("verb", "target")
    ) == [
        ("created API key", name),
        ("used API key from a new address", f"{name}, 192.0.2.1"),
        ("used API key from a new address", f"{name}, 2001:db8::1"),
        ("revoked API key", name),
    ]


def test_more_requests_than_the_limit_wait_for_the_next_minute(
    team: Team, alice: User, call: Call, settings: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.API_REQUESTS_PER_MINUTE = 2  # type: ignore[attr-defined]
    monkeypatch.setattr(limits.time, "time", lambda: 6018.0)
    answers = [call("GET", "/sample/read") for _ in range(3)]
    assert [each.status_code for each in answers] == [200, 200, 429]
    error = answers[-1].json()["error"]
    assert (error["type"], error["code"]) == ("rate_limit_error", "rate_limit_exceeded")
    assert answers[-1].headers["retry-after"] == "42"
    assert make_call(make_secret(team, alice))("GET", "/sample/read").status_code == 200
    monkeypatch.setattr(limits.time, "time", lambda: 6060.0)
    assert call("GET", "/sample/read").status_code == 200


def test_a_fault_is_found_in_the_log_by_the_id_of_its_request(
    call: Call, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.handler.addFilter(RequestIdFilter())
    with caplog.at_level(logging.ERROR):
        answer = call("POST", "/sample/fail")
    assert answer.status_code == 500
    assert "a fault" not in answer.text
    (record,) = [each for each in caplog.records if "/v1/sample/fail" in each.getMessage() and each.exc_info]
    assert vars(record)["request_id"] == answer.headers["x-request-id"]


def run_create_key(*arguments: str) -> str:
    out = StringIO()
    call_command("create_key", *arguments, stdout=out)
    return out.getvalue().splitlines()[-1]


def test_the_command_makes_team_user_and_key(db: None) -> None:
    secret = run_create_key("--team", "robots", "--user", "Robo@Example.com", "--scopes", "read")
    assert make_call(secret)("GET", "/sample/read").json() == {"team": "robots", "user": "robo@example.com"}
    again = run_create_key("--team", "robots", "--user", "robo@example.com")
    assert make_call(again)("POST", "/sample/write", {}).status_code == 200
    assert (Team.objects.count(), User.objects.count(), ApiKey.objects.count()) == (1, 1, 2)


def test_the_command_adds_a_new_user_to_the_team_as_editor(team: Team) -> None:
    run_create_key("--team", team.slug, "--user", "robo@example.com")
    assert Membership.objects.get(user__email="robo@example.com").role == Role.EDITOR


@pytest.mark.parametrize("arguments", [("--team", "a b", "--user", "a@b.de"), ("--team", "a", "--user", "b")])
def test_the_command_refuses_what_is_no_slug_or_address(db: None, arguments: tuple[str, ...]) -> None:
    with pytest.raises(CommandError):
        call_command("create_key", *arguments)
    assert not Team.objects.exists()
