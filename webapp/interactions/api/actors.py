"""Who gives feedback through the API."""

from __future__ import annotations

from webapp.interactions.feedback import Actor
from webapp.interactions.models import Feedback
from webapp.keys.authentication import KeyAccess


def find_actor(access: KeyAccess, user: str = "") -> Actor:
    """Return the caller's ``user`` as the actor, or else the key."""
    if user:
        return Actor(user, Feedback.Source.END_USER)
    return Actor(access.key.uid, Feedback.Source.API)
