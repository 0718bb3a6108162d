"""Deliveries of events: at least once, with growing delays, for 72 hours.

An attempt is recorded and the next one is scheduled before the request is sent, so a worker that dies while
it sends costs no event: the periodic task wakes another worker.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from http import HTTPStatus

from django.db import transaction
from django.utils import timezone

from webapp.teams.models import User
from webapp.teams.services import record_event
from webapp.webhooks import signing
from webapp.webhooks.models import DeliveryState, EventType, WebhookDelivery, WebhookEndpoint, WebhookEvent
from webapp.work import messages
from workers.outbound import OutboundError

FIRST_RETRY = timedelta(seconds=30)  # longer than a request may take
GROWTH = 3
MAX_RETRY = timedelta(hours=8)
GIVE_UP = timedelta(hours=72)
KEPT = timedelta(days=30)
MOST_AT_ONCE = 200
NO_RESULT = "The worker stopped before the server answered."


@transaction.atomic
def create_event(team_id: int, event_type: EventType, object_id: str) -> None:
    """Create an event and its deliveries, if an endpoint of the team subscribes to it.

    Call it in the transaction that changes the object, so that no event is lost or sent too early.
    """
    endpoints = WebhookEndpoint.objects.filter(team_id=team_id, event_types__contains=[event_type])
    subscribed = list(endpoints.order_by("pk"))
    if not subscribed:
        return
    event = WebhookEvent.objects.create(
        team_id=team_id, type=event_type, object_id=object_id, created_at=timezone.now()
    )
    for endpoint in subscribed:
        _create_delivery(endpoint, event)


def _create_delivery(endpoint: WebhookEndpoint, event: WebhookEvent) -> WebhookDelivery:
    now = timezone.now()
    delivery = WebhookDelivery.objects.create(endpoint=endpoint, event=event, created_at=now, next_try_at=now)
    messages.notify_workers("deliver_webhook", delivery.pk)
    return delivery


@transaction.atomic
def replay(delivery: WebhookDelivery, user: User | None) -> WebhookDelivery:
    """Send the event of a delivery again, with the same event id."""
    record_event(delivery.endpoint.team, user, "replayed webhook event", delivery.event.uid)
    return _create_delivery(delivery.endpoint, delivery.event)


def deliver(delivery_id: int) -> None:
    """Make one attempt if it is due and no other worker makes it."""
    delivery = _claim(delivery_id)
    if delivery is None:
        return
    try:
        status = signing.send_event(delivery.endpoint, delivery.event)
    except (OutboundError, signing.SecretUnreadable) as error:
        _record(delivery, None, str(error))
    else:
        _record(delivery, status, "" if _is_success(status) else f"The server answered {status}.")


@transaction.atomic
def _claim(delivery_id: int) -> WebhookDelivery | None:
    now = timezone.now()
    due = WebhookDelivery.objects.filter(pk=delivery_id, next_try_at__lte=now)
    locked = due.select_for_update(skip_locked=True, of=("self",))
    delivery = locked.select_related("endpoint__team", "event").first()
    if delivery is None:
        return None
    delivery.next_try_at = schedule(delivery.created_at, delivery.attempts, now)
    delivery.attempts += 1
    delivery.status_code, delivery.error = None, NO_RESULT
    if delivery.next_try_at is None:
        delivery.state = DeliveryState.FAILED  # unless this last attempt succeeds
    delivery.save(update_fields=["next_try_at", "attempts", "status_code", "error", "state"])
    return delivery


def schedule(created_at: datetime, attempts: int, now: datetime) -> datetime | None:
    """Return the time of the next attempt after ``attempts`` failed ones; None after 72 hours."""
    retry_at = now + min(FIRST_RETRY * GROWTH ** min(attempts, 10), MAX_RETRY)
    return retry_at if retry_at <= created_at + GIVE_UP else None


def _is_success(status: int) -> bool:
    return HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES


def _record(delivery: WebhookDelivery, status: int | None, error: str) -> None:
    """Store the result, unless a later attempt has begun."""
    values: dict[str, object] = {"status_code": status, "error": error[:300]}
    if not error:
        values |= {"state": DeliveryState.DELIVERED, "next_try_at": None}
    WebhookDelivery.objects.filter(pk=delivery.pk, attempts=delivery.attempts).update(**values)


def notify_waiting() -> None:
    """Wake workers for deliveries that are due."""
    due = WebhookDelivery.objects.filter(next_try_at__lte=timezone.now()).order_by("next_try_at")
    for pk in due.values_list("pk", flat=True)[:MOST_AT_ONCE]:
        messages.notify_workers("deliver_webhook", pk)


def delete_old() -> None:
    """Delete events and their deliveries after 30 days. Celery beat calls it."""
    WebhookEvent.objects.filter(created_at__lt=timezone.now() - KEPT).delete()
