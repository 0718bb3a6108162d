"""Queries on the audit trail: events by person, text and day, and downloads of models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date

from django.db.models import Q, QuerySet
from django.utils.dateparse import parse_date

from webapp.teams.models import AuditEvent, Team, User

MODEL_DOWNLOADS = ("downloaded adapter", "downloaded file", "downloaded export")


def find_events(team: Team, query: Mapping[str, str]) -> QuerySet[AuditEvent]:
    """Return events, newest first, filtered by ``who``, ``text``, ``since`` and ``until``."""
    found = team.audit_events.select_related("user")
    if who := query.get("who"):
        found = found.filter(user__email=who)
    if text := query.get("text", "").replace("\x00", ""):
        found = found.filter(Q(verb__icontains=text) | Q(target__icontains=text))
    if since := _parse_day(query.get("since", "")):
        found = found.filter(created_at__date__gte=since)
    if until := _parse_day(query.get("until", "")):
        found = found.filter(created_at__date__lte=until)
    return found


def _parse_day(text: str) -> date | None:
    try:
        return parse_date(text)
    except ValueError:  # such as 31 February
        return None


def list_people(team: Team) -> QuerySet[User]:
    """Return everybody with an event, including former members."""
    return User.objects.filter(pk__in=team.audit_events.values("user")).order_by("email")


def export_rows(found: QuerySet[AuditEvent]) -> Iterator[tuple[object, ...]]:
    """Yield the rows of a CSV file: a header, then one row per event."""
    yield ("when", "who", "did", "to")
    for event in found.iterator():
        yield (event.created_at.isoformat(), event.user or "", event.verb, event.target)


def find_model_downloads(team: Team) -> QuerySet[AuditEvent]:
    """Return downloads of adapters, files and exports. ``target`` ends with the model's name."""
    return team.audit_events.filter(verb__in=MODEL_DOWNLOADS)
