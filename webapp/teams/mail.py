"""The invitation e-mail."""

from __future__ import annotations

import logging
from smtplib import SMTPException

from django.core.mail import EmailMessage

from webapp.teams.models import Invitation

log = logging.getLogger(__name__)


def send_invitation(invitation: Invitation, link: str) -> str:
    """Send the link now. Returns the reason if it fails, else an empty text."""
    try:
        build_invitation_mail(invitation, link).send()
    except (SMTPException, OSError) as error:
        log.warning("The invitation to %s was not mailed: %s", invitation.email, error)
        return str(error) or type(error).__name__
    return ""


def build_invitation_mail(invitation: Invitation, link: str) -> EmailMessage:
    """Build the e-mail with the link and its expiry."""
    team, role = invitation.team, invitation.get_role_display().lower()
    lines = [
        f"{invitation.created_by} invites you to {team} in Groove, as {role}.",
        "",
        link,
        "",
        f"The link works once, until {invitation.expires_at:%-d %B %Y}.",
    ]
    subject = " ".join(f"Invitation to {team} in Groove".split())
    return EmailMessage(subject, "\n".join(lines), to=[invitation.email])
