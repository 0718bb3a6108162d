"""Ended jobs reach the team's webhooks: signed, at least once, until 72 hours have passed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.db import connection, transaction
from django.utils import timezone
from openai import InvalidWebhookSignatureError, OpenAI
from standardwebhooks import Webhook, WebhookVerificationError

from tests.web.webhooks.receiver import Receiver, receive
from webapp.jobs.models import Job
from webapp.jobs.states import State
from webapp.jobs.transitions import change_state
from webapp.teams.models import Team, User
from webapp.webhooks import deliveries, services
from webapp.webhooks.models import EventType, WebhookDelivery, WebhookEndpoint, WebhookEvent
from workers import tasks

ALL = list(EventType.values)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receive() as found:
        yield found


@pytest.fixture
def hook(team: Team, alice: User, receiver: Receiver) -> tuple[WebhookEndpoint, str]:
    return services.create_endpoint(team, alice, name="CI", url=receiver.url, event_types=ALL)


def end(job: Job, state: State = State.SUCCEEDED) -> None:
    Job.objects.filter(pk=job.pk).update(state=State.RUNNING, finished_at=None)
    assert change_state(job.pk, state)


def deliver_all() -> WebhookDelivery:
    """Deliver what is due and return the newest delivery."""
    for pk in WebhookDelivery.objects.values_list("pk", flat=True):
        deliveries.deliver(pk)
    return WebhookDelivery.objects.order_by("pk").last()  # type: ignore[return-value]


def pass_time(**past: float) -> None:
    """Let every delivery be that much older, and due."""
    for delivery in WebhookDelivery.objects.all():
        delivery.created_at -= timedelta(**past)
        delivery.next_try_at = delivery.next_try_at and timezone.now()
        delivery.save()


def test_an_ended_job_is_announced_once_and_verified_by_the_sdk(
    job: Job, hook: tuple[WebhookEndpoint, str], receiver: Receiver
) -> None:
    end(job)
    assert deliver_all().state == "delivered"
    deliver_all()
    assert len(receiver.bodies) == 1
    body, headers = receiver.bodies[0], receiver.headers[0]
    event = WebhookEvent.objects.get()
    expected = {"id": event.uid, "object": "event", "created_at": int(event.created_at.timestamp())}
    expected |= {"type": "fine_tuning.job.succeeded", "data": {"id": job.uid}}  # type: ignore[dict-item]
    assert Webhook(hook[1]).verify(body, headers) == expected
    sdk = OpenAI(api_key="unused", webhook_secret=hook[1])
    unwrapped = sdk.webhooks.unwrap(body, headers)
    assert (unwrapped.type, unwrapped.data.id) == ("fine_tuning.job.succeeded", job.uid)
    with pytest.raises(InvalidWebhookSignatureError):
        sdk.webhooks.unwrap(body.replace(b"succeeded", b"failed"), headers)


@pytest.mark.parametrize("state", [State.FAILED, State.CANCELLED])
def test_only_chosen_events_are_sent(
    job: Job, hook: tuple[WebhookEndpoint, str], receiver: Receiver, alice: User, state: State
) -> None:
    services.update_endpoint(hook[0], alice, event_types=[f"fine_tuning.job.{state}"])
    end(job)
    assert not WebhookEvent.objects.exists()
    end(job, state)
    deliver_all()
    assert json.loads(receiver.bodies[0])["type"] == f"fine_tuning.job.{state}"


def test_an_end_that_is_rolled_back_is_not_announced(job: Job, hook: tuple[WebhookEndpoint, str]) -> None:
    with transaction.atomic():
        end(job)
        transaction.set_rollback(True)
    assert not WebhookEvent.objects.exists()


def test_another_teams_webhook_hears_nothing(job: Job, charlie: User, receiver: Receiver) -> None:
    services.create_endpoint(charlie.teams.get(), charlie, name="x", url=receiver.url, event_types=ALL)
    end(job)
    assert not WebhookEvent.objects.exists()


def test_both_secrets_sign_for_24_hours_after_a_rotation(
    job: Job, hook: tuple[WebhookEndpoint, str], receiver: Receiver, alice: User
) -> None:
    endpoint, old = hook
    new = services.rotate_secret(endpoint, alice, keep_old=True)
    end(job)
    deliver_all()
    for secret in (old, new):
        Webhook(secret).verify(receiver.bodies[0], receiver.headers[0])
    WebhookEndpoint.objects.update(old_secret_until=timezone.now())
    end(job)
    deliver_all()
    Webhook(new).verify(receiver.bodies[1], receiver.headers[1])
    with pytest.raises(WebhookVerificationError):
        Webhook(old).verify(receiver.bodies[1], receiver.headers[1])


@pytest.mark.parametrize("status", [302, 404, 500])
def test_a_refused_delivery_is_repeated_with_the_same_id_and_a_fresh_time(
    job: Job, hook: tuple[WebhookEndpoint, str], receiver: Receiver, monkeypatch: Any, status: int
) -> None:
    receiver.status = status
    end(job)
    failed = deliver_all()
    assert (failed.state, failed.attempts, failed.status_code) == ("pending", 1, status)
    assert len(receiver.bodies) == 1, "redirects are not followed, and nothing is sent before its time"
    receiver.status = 204
    pass_time(minutes=1)
    later = timezone.now() + timedelta(seconds=60)
    monkeypatch.setattr("webapp.webhooks.signing.timezone.now", lambda: later)
    delivered = deliver_all()
    assert (delivered.state, delivered.attempts, delivered.status_code) == ("delivered", 2, 204)
    first, second = receiver.headers
    assert first["webhook-id"] == second["webhook-id"]
    assert int(second["webhook-timestamp"]) - int(first["webhook-timestamp"]) >= 59


def test_delays_grow_and_end_after_72_hours() -> None:
    created = now = timezone.now()
    delays: list[timedelta] = []
    while (retry := deliveries.schedule(created, len(delays), now)) is not None:
        delays.append(retry - now)
        now = retry
    assert delays == sorted(delays)
    assert delays[0] == timedelta(seconds=30)
    assert timedelta(hours=60) < now - created <= timedelta(hours=72)


def test_the_last_attempt_fails_for_good(
    job: Job, hook: tuple[WebhookEndpoint, str], receiver: Receiver
) -> None:
    receiver.status = 500
    end(job)
    pass_time(hours=72)
    last = deliver_all()
    assert (last.state, last.next_try_at, last.error) == ("failed", None, "The server answered 500.")


def test_a_worker_that_dies_while_it_sends_loses_no_event(
    job: Job, hook: tuple[WebhookEndpoint, str], receiver: Receiver, monkeypatch: Any
) -> None:
    end(job)
    with monkeypatch.context() as dying:
        dying.setattr("webapp.webhooks.signing.send_event", lambda *_: (_ for _ in ()).throw(SystemExit))
        with pytest.raises(SystemExit):
            deliver_all()
    woken: list[tuple[str, int]] = []
    monkeypatch.setattr("webapp.work.messages.notify_workers", lambda *sent: woken.append(sent))
    deliveries.notify_waiting()
    assert not woken, "another worker may still be sending"
    pass_time(minutes=1)
    deliveries.notify_waiting()
    ((task, pk),) = woken
    getattr(tasks, task)(pk)
    assert WebhookDelivery.objects.get().state == "delivered"


@pytest.mark.parametrize("url", ["http://127.0.0.2:9/", "http://hook.example/", "https://10.0.0.1/"])
def test_addresses_that_the_operator_has_not_allowed_are_never_asked(
    job: Job, hook: tuple[WebhookEndpoint, str], url: str
) -> None:
    """The operator may have withdrawn a permission since the webhook was created."""
    WebhookEndpoint.objects.update(url=url)
    end(job)
    refused = deliver_all()
    assert (refused.state, refused.status_code) == ("pending", None)
    assert "public address" in refused.error or "https://" in refused.error


def test_a_host_that_resolves_to_a_private_address_is_refused(
    job: Job, hook: tuple[WebhookEndpoint, str], receiver: Receiver, monkeypatch: Any
) -> None:
    monkeypatch.setenv("GROOVE_OUTBOUND_ALLOW", "")
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: [(2, 1, 6, "", ("127.0.0.1", 443))])
    WebhookEndpoint.objects.update(url="https://hook.example/")
    end(job)
    assert "is not a public address" in deliver_all().error


def test_a_worker_with_another_secret_key_says_so(
    job: Job, hook: tuple[WebhookEndpoint, str], receiver: Receiver
) -> None:
    end(job)
    with connection.cursor() as cursor:
        foreign = Fernet(Fernet.generate_key()).encrypt(b"whsec_AAAA").decode()
        cursor.execute("update webhooks_webhookendpoint set secret = %s", [foreign])
    assert "GROOVE_SECRET_KEY" in deliver_all().error
    assert not receiver.bodies


def test_a_replay_sends_the_event_again_with_its_id(
    job: Job, hook: tuple[WebhookEndpoint, str], receiver: Receiver, alice: User
) -> None:
    end(job)
    deliveries.replay(deliver_all(), alice)
    assert deliver_all().state == "delivered"
    first, second = receiver.headers
    assert first["webhook-id"] == second["webhook-id"]
