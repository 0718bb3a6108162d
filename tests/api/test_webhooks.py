"""Webhook endpoints by API, with OpenAI's SDK unchanged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI
from standardwebhooks import Webhook

from tests.api.conftest import Call, make_call, make_secret
from tests.web.webhooks.receiver import Receiver, connect_sdk, receive
from webapp.keys.models import Scope
from webapp.keys.services import create_key
from webapp.teams.models import Team, User
from webapp.webhooks.models import WebhookEndpoint

FAILED: Any = "fine_tuning.job.failed"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receive() as found:
        yield found


@pytest.fixture
def sdk(secret: str) -> OpenAI:
    return connect_sdk(secret)


def test_the_sdk_manages_a_webhook(sdk: OpenAI, call: Call, receiver: Receiver) -> None:
    assert FAILED in sdk.webhooks.event_types.list().data
    made = sdk.webhooks.create(name="CI", url=receiver.url, event_types=[FAILED])
    assert made.signing_secret.startswith("whsec_")
    assert made.signing_secret.endswith((made.signing_secret_hint or "")[-4:])
    found = sdk.webhooks.retrieve(made.id)
    assert (found.object, found.name, found.event_types) == ("webhook_endpoint", "CI", [FAILED])
    assert "signing_secret" not in found.to_dict()
    assert [each.id for each in sdk.webhooks.list()] == [made.id]
    assert sdk.webhooks.update(made.id, name="Builds").name == "Builds"
    rotated = sdk.webhooks.rotate_secret(made.id, keep_old_secret_active_for_24_hours=True)
    tested = sdk.webhooks.test(made.id, event_type=FAILED)
    assert (tested.status_code, tested.success) == (200, True)
    for secret in (made.signing_secret, rotated.signing_secret):
        Webhook(secret).verify(receiver.bodies[0], receiver.headers[0])
    assert call("POST", f"/webhook_endpoints/{made.id}/rotate_secret").status_code == 200, "without a body"
    assert WebhookEndpoint.objects.get().old_secret is None
    assert sdk.webhooks.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError):
        sdk.webhooks.retrieve(made.id)


def test_a_list_is_paged_newest_first(sdk: OpenAI) -> None:
    create, url = sdk.webhooks.create, "https://hook.example/"
    made = [create(name=name, url=url, event_types=[FAILED]).id for name in "abc"]
    assert [each.id for each in sdk.webhooks.list(limit=2)] == made[::-1]


@pytest.mark.parametrize(
    ("changed", "param"),
    [
        ({"url": "http://hook.example/"}, "url"),
        ({"url": "https://127.0.0.2/"}, "url"),
        ({"event_types": ["batch.completed"]}, "event_types"),
        ({"event_types": []}, "event_types"),
        ({"name": " "}, "name"),
        ({"name": None}, "name"),
    ],
)
def test_a_field_at_fault_is_named(call: Call, changed: dict[str, object], param: str) -> None:
    body = {"name": "CI", "url": "https://hook.example/", "event_types": [FAILED]} | changed
    response = call("POST", "/webhook_endpoints", body)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param
    assert not WebhookEndpoint.objects.exists()


def test_a_text_that_cannot_be_stored_is_refused(call: Call) -> None:
    body = {"name": "a\x00b", "url": "https://hook.example/", "event_types": [FAILED]}
    assert call("POST", "/webhook_endpoints", body).status_code == 400


def test_unchanged_updates_do_not_advance_the_time(sdk: OpenAI) -> None:
    made = sdk.webhooks.create(name="CI", url="https://hook.example/", event_types=[FAILED])
    before = WebhookEndpoint.objects.get().updated_at
    sdk.webhooks.update(made.id, name="CI")
    assert WebhookEndpoint.objects.get().updated_at == before


def test_an_unreachable_endpoint_fails_its_test_with_the_reason(sdk: OpenAI) -> None:
    made = sdk.webhooks.create(name="CI", url="http://127.0.0.1:1/", event_types=[FAILED])
    with pytest.raises(openai.BadRequestError, match="connection refused"):
        sdk.webhooks.test(made.id, event_type=FAILED)


def test_only_owners_keys_reach_webhooks(
    sdk: OpenAI, team: Team, erin: User, viewer_call: Call, stranger_call: Call
) -> None:
    made = sdk.webhooks.create(name="CI", url="https://hook.example/", event_types=[FAILED])
    paths = [("GET", ""), ("POST", ""), ("DELETE", ""), ("POST", "/rotate_secret"), ("POST", "/test")]
    for method, rest in paths:
        path, body = f"/webhook_endpoints/{made.id}{rest}", {"event_type": FAILED}
        assert viewer_call(method, path, body).status_code == 403
        assert make_call(make_secret(team, erin))(method, path, body).status_code == 403
        service = create_key(team, None, "CI", Scope, personal=False)[1]  # acts as an editor
        assert "role of owner" in make_call(service)(method, path, body).json()["error"]["message"]
        assert stranger_call(method, path, body).status_code == 404
