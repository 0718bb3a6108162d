"""Template tags for account pages: sign-up, invitations, e-mail."""

from __future__ import annotations

from allauth.account.adapter import get_adapter
from django import template
from django.conf import settings
from django.template.context import Context
from django.template.defaultfilters import stringfilter

from webapp.teams.accounts import find_pending_invitation
from webapp.teams.models import Team

register = template.Library()


@register.simple_tag(takes_context=True)
def is_signup_open(context: Context) -> bool:
    """True if this browser may create an account."""
    return bool(get_adapter().is_open_for_signup(context["request"]))


@register.simple_tag(takes_context=True)
def get_inviting_team(context: Context) -> Team | None:
    """Return the team whose invitation this browser opened."""
    invitation = find_pending_invitation(context["request"])
    return invitation.team if invitation else None


@register.simple_tag
def is_mail_sent() -> bool:
    """True if a mail server is configured."""
    return bool(settings.MAIL_URL)


@register.simple_tag
def is_mail_logged() -> bool:
    """True if e-mails are written to the log of the web process."""
    return "console" in settings.EMAIL_BACKEND or "locmem" in settings.EMAIL_BACKEND


@register.filter
@stringfilter
def sentence(text: str) -> str:
    """Return allauth's Title Case in sentence case."""
    return text.strip().capitalize()
