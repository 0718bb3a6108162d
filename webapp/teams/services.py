"""Create teams, manage members and invitations, write the audit trail."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from allauth.account.models import EmailAddress
from django.conf import settings as django_settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.crypto import get_random_string
from django.utils.text import slugify

from webapp.teams.models import AuditEvent, Invitation, Membership, Role, Team, User

INVITATION_DAYS = 7
RESERVED_SLUGS = {"new"}


class LastOwner(ValueError):
    """The team would have no owner."""

    def __init__(self, team: Team) -> None:
        super().__init__(f"{team} needs an owner. Make another member an owner first.")


def record_event(team: Team, user: User | None, verb: str, target: object) -> None:
    """Add an event to the audit trail. Call it inside the transaction of the action."""
    AuditEvent.objects.create(team=team, user=user, verb=verb, target=str(target)[:200])


@transaction.atomic
def create_team(user: User, name: str) -> Team:
    """Create a team with ``user`` as its owner."""
    slug = slugify(name)[:40] or "team"
    if slug in RESERVED_SLUGS or Team.objects.filter(slug=slug).exists():
        slug = f"{slug}-{get_random_string(6).lower()}"
    team = Team.objects.create(slug=slug, name=name)
    Membership.objects.create(team=team, user=user, role=Role.OWNER)
    record_event(team, user, "created team", team)
    return team


@transaction.atomic
def change_settings(team: Team, user: User, values: Mapping[str, object]) -> None:
    """Save the team's settings. Only staff may change ``max_running_jobs``."""
    allowed = ["name", "rollouts_kept_days", *(["max_running_jobs"] if user.is_staff else [])]
    changed = [name for name in allowed if getattr(team, name) != values[name]]
    for name in changed:
        setattr(team, name, values[name])
        record_event(
            team, user, f"set {name.replace('_', ' ')}", "empty" if values[name] is None else values[name]
        )
    team.save(update_fields=changed)


def find_open_invitations() -> QuerySet[Invitation]:
    """Return invitations that can still be accepted."""
    return Invitation.objects.filter(accepted_at=None, expires_at__gt=timezone.now()).select_related("team")


@transaction.atomic
def create_invitation(team: Team, user: User, email: str, role: Role) -> Invitation:
    """Create a link that is valid for a week and replaces an earlier one for the same address.

    Without an address it admits the first person who opens it. Raises ValueError for an owner without one.
    """
    if not email and role == Role.OWNER:
        raise ValueError("An owner's invitation needs an e-mail address.")
    if email:
        team.invitations.filter(email__iexact=email, accepted_at=None).delete()
    invitation = Invitation.objects.create(
        team=team,
        email=email,
        role=role,
        created_by=user,
        expires_at=timezone.now() + timedelta(days=INVITATION_DAYS),
    )
    record_event(team, user, f"invited as {role.label.lower()}", invitation.addressee)
    return invitation


@transaction.atomic
def revoke_invitation(invitation: Invitation, user: User) -> None:
    """Delete an invitation, so that its link stops working."""
    record_event(invitation.team, user, "revoked invitation", invitation.addressee)
    invitation.delete()


def has_confirmed_email(user: User) -> bool:
    """True if the user confirmed the address, or this site does not confirm addresses."""
    if django_settings.ACCOUNT_EMAIL_VERIFICATION != "mandatory":
        return True
    confirmed = EmailAddress.objects.filter(user=user, email__iexact=user.email, verified=True)
    return bool(confirmed.exists())


def create_confirmed_user(email: str, password: str) -> User:
    """Create an account whose address counts as confirmed, for the operator's commands."""
    user = User.objects.create_user(email, password)
    EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    return user


def may_accept(invitation: Invitation, user: User) -> bool:
    """True if the user's address is confirmed, and is the invited one if there is one."""
    invited = not invitation.email or invitation.email.lower() == user.email.lower()
    return invited and has_confirmed_email(user)


@transaction.atomic
def accept_invitation(invitation: Invitation, user: User) -> Team | None:
    """Add ``user`` to the team and return it. A member keeps their role.

    Returns None if the invitation is for another address, or was used or revoked.
    """
    if not may_accept(invitation, user):
        return None
    # One guarded update: if two people open the same link at once, only one joins.
    accepted = find_open_invitations().filter(pk=invitation.pk).update(accepted_at=timezone.now())
    if not accepted:
        return None
    membership, new = Membership.objects.get_or_create(
        team=invitation.team, user=user, defaults={"role": invitation.role}
    )
    if new:
        record_event(invitation.team, user, "joined", Role(membership.role).label.lower())
    return invitation.team


@transaction.atomic
def change_role(membership: Membership, user: User, role: Role) -> None:
    """Change a member's role. Raises LastOwner if the team would have no owner."""
    if role == membership.role:
        return
    if role != Role.OWNER:
        _require_another_owner(membership)
    Membership.objects.filter(pk=membership.pk).update(role=role)
    record_event(membership.team, user, f"made {role.label.lower()}", membership.user)


@transaction.atomic
def remove_member(membership: Membership, user: User) -> None:
    """Remove a member. Raises LastOwner if the team would have no owner."""
    _require_another_owner(membership)
    membership.delete()
    record_event(
        membership.team, user, "left" if membership.user == user else "removed member", membership.user
    )


def _require_another_owner(leaving: Membership) -> None:
    """Raise LastOwner if nobody else owns the team. Locks the owners: two could leave at once."""
    owners = leaving.team.memberships.select_for_update().filter(role=Role.OWNER).values_list("pk", flat=True)
    if set(owners) == {leaving.pk}:
        raise LastOwner(leaving.team)
