"""What a new user finds after sign-up."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from webapp.home.sample_project import create_sample_project
from webapp.teams.accounts import SESSION_KEY, find_pending_invitation
from webapp.teams.models import User
from webapp.teams.services import accept_invitation, create_team, has_confirmed_email


def welcome_newcomer(request: HttpRequest, user: User, **_signal: Any) -> None:
    """Put a new user into the team that invited, or into a team of their own with the sample project.

    Somebody whose address is still to be confirmed joins at the first sign-in.
    """
    invitation = find_pending_invitation(request)
    awaited = invitation is not None and invitation.email.lower() in ("", user.email.lower())
    if awaited and not has_confirmed_email(user):
        return
    if invitation and accept_invitation(invitation, user):
        request.session.pop(SESSION_KEY, None)
        return
    request.session.pop(SESSION_KEY, None)
    name = user.email.partition("@")[0][:80]
    create_sample_project(create_team(user, name), user)
