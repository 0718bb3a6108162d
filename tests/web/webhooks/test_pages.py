"""Owners manage webhooks on their page."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from standardwebhooks import Webhook

from tests.web.webhooks.receiver import Receiver, receive
from webapp.jobs.models import Job
from webapp.jobs.states import State
from webapp.jobs.transitions import change_state
from webapp.teams.models import AuditEvent, Team, User
from webapp.webhooks.models import EventType, WebhookDelivery, WebhookEndpoint

AsUser = Callable[[User], Client]
SECRET = re.compile(r"whsec_[A-Za-z0-9+/]{32}")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receive() as found:
        yield found


def create(client: Client, team: Team, url: str, **values: Any) -> Any:
    data = {"name": "CI", "url": url, "event_types": EventType.values} | values
    return client.post(f"/t/{team.slug}/webhooks/new/", data)


def test_an_owner_creates_tests_rotates_and_deletes_a_webhook(
    as_user: AsUser, alice: User, team: Team, receiver: Receiver
) -> None:
    client = as_user(alice)
    assert "No webhooks yet" in client.get(f"/t/{team.slug}/webhooks/").text
    page = create(client, team, receiver.url)
    first = SECRET.findall(page.text)[0]
    assert page.headers["cache-control"] == "no-store"
    here = WebhookEndpoint.objects.get().get_absolute_url()
    assert first not in client.get(here).text
    tested = client.post(f"{here}test/", {"event_type": "fine_tuning.job.failed"}, follow=True)
    assert "answered the test with status 200" in tested.text
    assert Webhook(first).verify(receiver.bodies[0], receiver.headers[0])["data"] == {"id": "ftjob-sample"}
    second = SECRET.findall(client.post(f"{here}secret/").text)[0]
    assert second != first
    client.post(here, {"name": "New", "url": receiver.url, "event_types": EventType.values})
    client.post(f"{here}delete/")
    assert not WebhookEndpoint.objects.exists()
    events = AuditEvent.objects.filter(verb__contains="webhook").order_by("id")
    assert [event.verb.replace(" webhook", "") for event in events] == [
        "created", "tested", "rotated secret", "changed", "deleted",
    ]  # fmt: skip


def test_the_secret_is_stored_encrypted(as_user: AsUser, alice: User, team: Team, caplog: Any) -> None:
    secret = SECRET.findall(create(as_user(alice), team, "https://hook.example/").text)[0]
    with connection.cursor() as cursor:
        cursor.execute("select secret from webhooks_webhookendpoint")
        assert secret not in cursor.fetchone()[0]
    assert WebhookEndpoint.objects.get().secret == secret
    assert secret not in caplog.text
    assert not AuditEvent.objects.filter(target__contains=secret).exists()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://hook.example/", "must begin with https://"),
        ("https://10.0.0.1/", "is not a public address"),
        ("https://user:word@hook.example/", "must not hold a user name"),
        ("ftp://hook.example/", "must begin with http"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused(
    as_user: AsUser, alice: User, team: Team, url: str, words: str
) -> None:
    page = create(as_user(alice), team, url)
    assert page.status_code == 422
    assert words in page.text


def test_a_test_without_a_response_says_why(as_user: AsUser, alice: User, team: Team) -> None:
    client = as_user(alice)
    create(client, team, "http://127.0.0.1:1/")
    place = WebhookEndpoint.objects.get().get_absolute_url()
    page = client.post(f"{place}test/", {"event_type": "fine_tuning.job.failed"}, follow=True)
    assert "The test failed. 127.0.0.1 cannot be reached: connection refused." in page.text


def test_editors_do_not_see_webhooks(as_user: AsUser, erin: User, team: Team) -> None:
    assert as_user(erin).get(f"/t/{team.slug}/webhooks/").status_code == 403


def test_deliveries_are_listed_and_replayed(
    as_user: AsUser, alice: User, team: Team, job: Job, receiver: Receiver
) -> None:
    client = as_user(alice)
    create(client, team, receiver.url)
    Job.objects.filter(pk=job.pk).update(state=State.RUNNING)
    change_state(job.pk, State.FAILED)
    page = client.get(f"/t/{team.slug}/webhooks/").text
    assert "Job failed" in page
    assert job.uid in page
    delivery = WebhookDelivery.objects.get()
    client.post(f"/t/{team.slug}/webhooks/deliveries/{delivery.uid}/replay/")
    assert WebhookDelivery.objects.filter(event=delivery.event).count() == 2
