"""The first team of a new user."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from webapp.home.sample_project import create_sample_project
from webapp.teams.accounts import SESSION_KEY, find_pending_invitation
from webapp.teams.models import User
from webapp.teams.services import accept_invitation, create_team, has_confirmed_email


def welcome_newcomer(request: HttpRequest, user: User, **_signal: Any) -> None:
    """Add a new user to the inviting team, or create a team with the sample project.

    A user with an unconfirmed address joins at the first sign-in.
    """
    invitation = find_pending_invitation(request)
    invited = invitation is not None and invitation.email.lower() in ("", user.email.lower())
    if invited and not has_confirmed_email(user):
        return
    if invitation and accept_invitation(invitation, user):
        request.session.pop(SESSION_KEY, None)
        return
    request.session.pop(SESSION_KEY, None)
    name = user.email.partition("@")[0][:80]
    create_sample_project(create_team(user, name), user)
