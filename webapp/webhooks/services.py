"""Create, change, rotate, test and delete webhook endpoints."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from django.db import transaction
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from webapp.teams.models import Team, User
from webapp.teams.services import record_event
from webapp.webhooks import signing
from webapp.webhooks.models import EventType, WebhookEndpoint, WebhookEvent
from workers import outbound

MOST_ENDPOINTS = 50  # of a team
OLD_SECRET_VALID = timedelta(hours=24)
SAMPLE_JOB = "ftjob-sample"


class EndpointRefused(ValueError):
    """A field of the endpoint cannot be used. The message says why."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class TestFailed(Exception):
    """The test event was not answered. The message says why."""


def _check_url(url: str) -> str:
    """Refuse what can be refused without a name server; every delivery is checked again."""
    try:
        outbound.require_https(url)
    except outbound.AddressRefused as error:
        raise EndpointRefused("url", str(error)) from error
    return url


def _check_name(name: str) -> str:
    if not name.strip():
        raise EndpointRefused("name", "Enter a name.")
    return name.strip()


def _check_types(event_types: Iterable[str]) -> list[str]:
    """Return the types in the order of ``EventType``, each once."""
    wanted = set(event_types)
    unknown = sorted(wanted - set(EventType.values))
    if unknown:
        known = ", ".join(EventType.values)
        raise EndpointRefused("event_types", f"Unknown event type {unknown[0]!r}. Choose from: {known}.")
    if not wanted:
        raise EndpointRefused("event_types", "Choose at least one event type.")
    return [each for each in EventType.values if each in wanted]


@sensitive_variables("secret")
@transaction.atomic
def create_endpoint(
    team: Team, user: User | None, *, name: str, url: str, event_types: Iterable[str]
) -> tuple[WebhookEndpoint, str]:
    """Create an endpoint and return it with its signing secret. Raises EndpointRefused."""
    Team.objects.select_for_update(no_key=True).get(pk=team.pk)
    if team.webhook_endpoints.count() >= MOST_ENDPOINTS:
        raise EndpointRefused("name", f"A team has up to {MOST_ENDPOINTS} webhooks. Delete one first.")
    secret = signing.create_secret()
    endpoint = WebhookEndpoint.objects.create(
        team=team,
        created_by=user,
        name=_check_name(name),
        url=_check_url(url),
        event_types=_check_types(event_types),
        secret=secret,
        secret_hint=signing.build_hint(secret),
        updated_at=timezone.now(),
    )
    record_event(team, user, "created webhook", endpoint)
    return endpoint, secret


@transaction.atomic
def update_endpoint(
    endpoint: WebhookEndpoint,
    user: User | None,
    *,
    name: str | None = None,
    url: str | None = None,
    event_types: Iterable[str] | None = None,
) -> None:
    """Change the fields that are given. Raises EndpointRefused."""
    values: dict[str, object] = {
        "name": endpoint.name if name is None else _check_name(name),
        "url": endpoint.url if url is None else _check_url(url),
        "event_types": endpoint.event_types if event_types is None else _check_types(event_types),
    }
    changed = [field for field, value in values.items() if value != getattr(endpoint, field)]
    if not changed:
        return
    for field in changed:
        setattr(endpoint, field, values[field])
    endpoint.updated_at = timezone.now()
    endpoint.save(update_fields=[*changed, "updated_at"])
    record_event(endpoint.team, user, "changed webhook", endpoint)


@sensitive_variables("secret")
@transaction.atomic
def rotate_secret(endpoint: WebhookEndpoint, user: User | None, *, keep_old: bool) -> str:
    """Replace the signing secret and return the new one. The old one also signs for 24 h if kept."""
    locked = WebhookEndpoint.objects.select_for_update().get(pk=endpoint.pk)
    now, secret = timezone.now(), signing.create_secret()
    endpoint.old_secret = locked.secret if keep_old else None
    endpoint.old_secret_until = now + OLD_SECRET_VALID if keep_old else None
    endpoint.secret, endpoint.secret_hint, endpoint.updated_at = secret, signing.build_hint(secret), now
    endpoint.save(update_fields=["secret", "secret_hint", "old_secret", "old_secret_until", "updated_at"])
    record_event(endpoint.team, user, "rotated webhook secret", endpoint)
    return secret


@transaction.atomic
def delete_endpoint(endpoint: WebhookEndpoint, user: User | None) -> None:
    """Delete the endpoint with its secret and its deliveries."""
    record_event(endpoint.team, user, "deleted webhook", endpoint)
    endpoint.delete()


def send_test(endpoint: WebhookEndpoint, user: User | None, event_type: str) -> int:
    """Send a sample event now and return the response's status. Nothing is retried.

    Raises EndpointRefused for an unknown type, and TestFailed without a response.
    """
    _check_types([event_type])
    record_event(endpoint.team, user, "tested webhook", endpoint)
    event = WebhookEvent(type=event_type, object_id=SAMPLE_JOB, created_at=timezone.now())
    try:
        return signing.send_event(endpoint, event)
    except (outbound.OutboundError, signing.SecretUnreadable) as error:
        raise TestFailed(str(error)) from error
