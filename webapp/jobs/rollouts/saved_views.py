"""Filters of the rollouts page that a team keeps under a name."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode

from webapp.jobs.models import SavedView
from webapp.jobs.rollouts.search import asked
from webapp.teams.models import Team, User
from webapp.teams.services import record_event


def asked_in(query: str) -> str:
    """What of an address's query is about rollouts, written always in the same way."""
    return urlencode(asked(dict(parse_qsl(query))))


def save_view(team: Team, user: User, name: str, query: str) -> SavedView:
    """Keep filters under a name; the same name again replaces it. Raises ValueError with what to change."""
    name, text = name.replace("\x00", "").strip(), asked_in(query)
    if not name or len(name) > 60:
        raise ValueError("The view was not saved: give it a name of 1 to 60 characters.")
    if not text:
        raise ValueError("The view was not saved: filter something first.")
    if len(text) > 2000:
        raise ValueError("The view was not saved: its filters are too long.")
    view, _ = team.saved_views.update_or_create(name=name, defaults={"query": text, "created_by": user})
    record_event(team, user, "saved a view of rollouts", view)
    return view


def forget_view(view: SavedView, user: User) -> None:
    """Remove it for the whole team."""
    record_event(view.team, user, "removed a view of rollouts", view)
    view.delete()
