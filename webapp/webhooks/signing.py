"""Signing secrets, and requests signed with them (https://www.standardwebhooks.com)."""

from __future__ import annotations

import base64
import json
import secrets

from django.conf import settings
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables
from standardwebhooks import Webhook

from webapp.core.fields import is_undecrypted
from webapp.webhooks.models import WebhookEndpoint, WebhookEvent
from workers import outbound

PREFIX = "whsec_"
SECRET_BYTES = 24
HINT_CHARACTERS = 4
USER_AGENT = "Groove-Webhooks/1"


class SecretUnreadable(Exception):
    """The endpoint's signing secret was encrypted with another key than this process has."""

    def __init__(self) -> None:
        super().__init__("This server cannot read the signing secret: its GROOVE_SECRET_KEY has changed.")


def create_secret() -> str:
    """Return a new signing secret."""
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def build_hint(secret: str) -> str:
    """Return the end of a secret, enough to tell two apart."""
    return f"{PREFIX}…{secret[-HINT_CHARACTERS:]}"


def build_body(event: WebhookEvent) -> bytes:
    """Return the body of the event's requests. It is the same in every attempt."""
    content = {
        "id": event.uid,
        "object": "event",
        "created_at": int(event.created_at.timestamp()),
        "type": event.type,
        "data": {"id": event.object_id},
    }
    return json.dumps(content, separators=(",", ":")).encode()


@sensitive_variables()
def build_headers(endpoint: WebhookEndpoint, event_id: str, body: bytes) -> dict[str, str]:
    """Return the headers of a request that is sent now. Raises SecretUnreadable."""
    now = timezone.now()
    valid = [endpoint.secret]
    if endpoint.old_secret and endpoint.old_secret_until and endpoint.old_secret_until > now:
        valid.append(endpoint.old_secret)
    if any(is_undecrypted(secret) for secret in valid):
        raise SecretUnreadable
    return {
        "content-type": "application/json",
        "user-agent": USER_AGENT,
        "webhook-id": event_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(Webhook(secret).sign(event_id, now, body.decode()) for secret in valid),
    }


def send_event(endpoint: WebhookEndpoint, event: WebhookEvent) -> int:
    """Send the event once and return the response's status.

    Raises OutboundError, and SecretUnreadable.
    """
    body = build_body(event)
    outbound.require_https(endpoint.url)
    headers = build_headers(endpoint, event.uid, body)
    return outbound.post(endpoint.url, body, headers=headers, max_seconds=settings.WEBHOOK_SECONDS)
