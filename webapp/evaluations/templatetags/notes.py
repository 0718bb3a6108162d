"""Template filters for notes on compared rows."""

from __future__ import annotations

from collections.abc import Iterable

from django import template

from webapp.evaluations.models import Note
from webapp.teams.models import User

register = template.Library()


@register.filter
def written_by(notes: Iterable[Note], author: User) -> Note | None:
    """Return the note that this person wrote."""
    return next((note for note in notes if note.author_id == author.pk), None)
