"""Teams: make one, let people in, keep the record."""

from __future__ import annotations

from django.db import transaction
from django.utils.crypto import get_random_string
from django.utils.text import slugify

from .models import AuditEvent, Membership, Role, Team, User


def record(team: Team, user: User | None, verb: str, target: object) -> None:
    """Keep who did what. Call it inside the transaction that does it."""
    AuditEvent.objects.create(team=team, user=user, verb=verb, target=str(target)[:200])


@transaction.atomic
def create_team(user: User, name: str) -> Team:
    """A new team with ``user`` as its owner."""
    slug = slugify(name)[:40] or "team"
    if slug in {"new"} or Team.objects.filter(slug=slug).exists():
        slug = f"{slug}-{get_random_string(6).lower()}"
    team = Team.objects.create(slug=slug, name=name)
    Membership.objects.create(team=team, user=user, role=Role.OWNER)
    record(team, user, "created team", team)
    return team
