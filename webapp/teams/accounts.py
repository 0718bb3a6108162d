"""Sign-up: who may, and what a newcomer finds."""

from __future__ import annotations

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from django.conf import settings
from django.http import HttpRequest

from .models import Invitation, User
from .sample import create_sample_project
from .services import accept_invitation, create_team, open_invitations

SESSION_KEY = "invitation"


def pending_invitation(request: HttpRequest) -> Invitation | None:
    """The invitation whose link this browser opened, if it still stands."""
    token = request.session.get(SESSION_KEY)
    return open_invitations().filter(token=token).first() if token else None


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]  # allauth has no types
    """Sign-up is open to all, or to the invited only."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return bool(settings.SIGNUP_OPEN) or pending_invitation(request) is not None


def welcome(request: HttpRequest, user: User, **_signal: Any) -> None:
    """Put a new user into the team that invited, or into a team of their own with the sample project."""
    invitation = pending_invitation(request)
    request.session.pop(SESSION_KEY, None)
    if invitation and accept_invitation(invitation, user):
        return
    name = user.email.partition("@")[0][:80]
    create_sample_project(create_team(user, name), user)
