"""Saved views: filters of the rollouts page under a name, for the whole team."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode

from webapp.jobs.errors import ActionRefused
from webapp.jobs.models import SavedView
from webapp.jobs.rollouts.search import read_query
from webapp.teams.models import Team, User
from webapp.teams.services import record_event

NAME_LENGTH, QUERY_LENGTH = 60, 2000


def normalize_query(query: str) -> str:
    """Return the parameters about rollouts in fixed order: equal filters give equal text."""
    return urlencode(read_query(dict(parse_qsl(query))))


def save_view(team: Team, user: User, name: str, query: str) -> SavedView:
    """Save filters under a name, which replaces a view of this name. Raises ``ActionRefused``."""
    name, text = name.replace("\x00", "").strip(), normalize_query(query)
    if not name or len(name) > NAME_LENGTH:
        raise ActionRefused(f"The view was not saved: give it a name of 1 to {NAME_LENGTH} characters.")
    if not text:
        raise ActionRefused("The view was not saved: set a filter first.")
    if len(text) > QUERY_LENGTH:
        raise ActionRefused("The view was not saved: its filters are too long.")
    view, _ = team.saved_views.update_or_create(name=name, defaults={"query": text, "created_by": user})
    record_event(team, user, "saved a view of rollouts", view)
    return view


def delete_view(view: SavedView, user: User) -> None:
    """Delete the view for the whole team."""
    record_event(view.team, user, "removed a view of rollouts", view)
    view.delete()
