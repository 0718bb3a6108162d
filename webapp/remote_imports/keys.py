"""Keys of other services, kept encrypted in the shared cache for ten minutes and deleted after use.

They are in no table of Groove, no session, no page and no log. The page that chooses what to import holds a
random ticket instead, so that a person types the key once and a worker on another machine can use it. The
URL lies with the key: a key goes to the server that it was entered for and to no other.
"""

from __future__ import annotations

import json
import secrets

from cryptography.fernet import InvalidToken
from django.core.cache import cache
from django.views.decorators.debug import sensitive_variables
from encrypted_fields.fields import EncryptedTextField

from webapp.remote_imports.client import Remote
from webapp.teams.models import Team

KEPT_SECONDS = 600
_CIPHER = EncryptedTextField()


def _name(team: Team, ticket: str) -> str:
    return f"remote_key:{team.pk}:{ticket}"


@sensitive_variables("key", "plain")
def keep(team: Team, base_url: str, key: str) -> str:
    """Keep a key and return its ticket, which works for this team only."""
    ticket = secrets.token_urlsafe(24)
    plain = json.dumps([base_url, key]).encode()
    cache.set(_name(team, ticket), _CIPHER.f.encrypt(plain), KEPT_SECONDS)
    return ticket


@sensitive_variables("key")
def find_remote(team: Team, ticket: str) -> Remote | None:
    """Return the account of a ticket; None if its time is over or its key was deleted."""
    kept = cache.get(_name(team, ticket))
    if kept is None:
        return None
    try:
        base_url, key = json.loads(_CIPHER.f.decrypt(kept))
    except InvalidToken:
        return None
    return Remote(base_url, key)


def extend(team: Team, ticket: str) -> None:
    """Keep the key for ten minutes more, for a worker to find."""
    if (kept := cache.get(_name(team, ticket))) is not None:
        cache.set(_name(team, ticket), kept, KEPT_SECONDS)


def delete(team: Team, ticket: str) -> None:
    """Delete the key."""
    cache.delete(_name(team, ticket))
