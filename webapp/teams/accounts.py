"""Sign-up: who may register, and the invitation that a new user accepts."""

from __future__ import annotations

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.models import EmailAddress
from django.conf import settings
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.urls import reverse

from webapp.teams.models import Invitation, User
from webapp.teams.services import accept_invitation, find_open_invitations

SESSION_KEY = "invitation"


def find_pending_invitation(request: HttpRequest) -> Invitation | None:
    """Return the invitation whose link this browser opened, if it is still valid."""
    token = request.session.get(SESSION_KEY)
    return find_open_invitations().filter(token=token).first() if token else None


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]  # allauth has no types
    """Rules for allauth: who may sign up, confirmed addresses, rate limits."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return bool(settings.SIGNUP_OPEN) or find_pending_invitation(request) is not None

    def clean_email(self, email: str) -> str:
        """Without open sign-up, accept only the address of the invitation."""
        cleaned: str = super().clean_email(email)
        if settings.SIGNUP_OPEN or not self.request or self.request.path != reverse("account_signup"):
            return cleaned
        invitation = find_pending_invitation(self.request)
        if invitation and invitation.email and invitation.email.lower() != cleaned.lower():
            raise ValidationError("Sign up with the address that was invited.")
        return cleaned

    def confirm_email(self, request: HttpRequest, email_address: EmailAddress) -> bool:
        """Refuse an address that belongs to another account."""
        others = User.objects.filter(email__iexact=email_address.email).exclude(pk=email_address.user_id)
        return not others.exists() and bool(super().confirm_email(request, email_address))

    def _get_login_attempts_cache_key(self, request: HttpRequest, **credentials: Any) -> str:
        """Count failed sign-ins per account.

        allauth's own key contains the ``Host`` header, whose port the client can vary to evade the limit.
        """
        return str(credentials.get("email", "")).lower()


def accept_pending_invitation(request: HttpRequest, user: User, **_signal: Any) -> None:
    """Accept, after sign-in, the invitation that this browser opened, if it is for the user."""
    invitation = find_pending_invitation(request)
    if invitation and accept_invitation(invitation, user):
        request.session.pop(SESSION_KEY, None)
