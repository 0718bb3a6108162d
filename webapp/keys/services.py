"""Create, find and revoke API keys."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from hashlib import sha256

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.crypto import get_random_string

from webapp.keys.models import ApiKey, ApiKeyAddress, Scope
from webapp.teams.models import Team, User
from webapp.teams.services import record_event

PREFIX = "sk-groove-"
RANDOM_CHARACTERS = 32
USE_RECORDED_EVERY = timedelta(minutes=1)


def _digest(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()


@transaction.atomic
def create_key(
    team: Team,
    creator: User | None,
    name: str,
    scopes: Iterable[Scope],
    *,
    personal: bool = True,
    expires_at: datetime | None = None,
) -> tuple[ApiKey, str]:
    """Create a key and return it with its secret, which is not stored."""
    secret = PREFIX + get_random_string(RANDOM_CHARACTERS)
    key = ApiKey.objects.create(
        team=team,
        user=creator if personal else None,
        created_by=creator,
        name=name,
        scopes=[scope for scope in Scope if scope in set(scopes)],
        digest=_digest(secret),
        hint=secret[-4:],
        expires_at=expires_at,
    )
    record_event(team, creator, "created API key", f"{name} (…{key.hint})")
    return key, secret


def find_key(secret: str) -> ApiKey | None:
    """Return the key if it works."""
    if not secret.startswith(PREFIX):
        return None
    keys = ApiKey.objects.select_related("team", "user").filter(digest=_digest(secret))
    key = keys.first()
    return key if key and key.works else None


@transaction.atomic
def revoke_key(key: ApiKey, user: User | None) -> bool:
    """Revoke the key for good. Return False if it was revoked already."""
    revoked = ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=timezone.now())
    if revoked:
        record_event(key.team, user, "revoked API key", f"{key.name} (…{key.hint})")
    return bool(revoked)


def record_use(key: ApiKey, address: str) -> None:
    """Record that the key was used: the time to a minute, and every new address in the audit trail."""
    now = timezone.now()
    stale = Q(last_used_at=None) | Q(last_used_at__lt=now - USE_RECORDED_EVERY)
    recent = not ApiKey.objects.filter(stale, pk=key.pk).update(last_used_at=now)
    if recent and key.addresses.filter(address=address).exists():
        return
    with transaction.atomic():
        _, created = ApiKeyAddress.objects.get_or_create(key=key, address=address)
        if created:
            record_event(
                key.team, key.user, "used API key from a new address", f"{key.name} (…{key.hint}), {address}"
            )


def select_keys(team: Team, user: User | None) -> QuerySet[ApiKey]:
    """Return the team's keys that are not revoked; only those of ``user`` unless it is None."""
    keys = ApiKey.objects.select_related("user", "created_by").filter(team=team, revoked_at=None)
    return keys.filter(user=user) if user else keys
