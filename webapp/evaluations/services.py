"""Notes on compared rows."""

from __future__ import annotations

from webapp.core.fields import replace_nul
from webapp.evaluations.models import Note
from webapp.jobs.models import ComparedRow
from webapp.teams.models import User


def write_note(row: ComparedRow, author: User, text: str) -> Note | None:
    """Save a member's note on a row: a new text replaces the old one, an empty text deletes it.

    Raises ``ValueError`` with what to change.
    """
    text = replace_nul(text.replace("\r\n", "\n")).strip()
    if len(text) > Note.LONGEST:
        length = f"it has {len(text):,} characters of at most {Note.LONGEST:,}"
        raise ValueError(f"The note was not saved: {length}.")
    if not text:
        row.notes.filter(author=author).delete()
        return None
    return Note.objects.update_or_create(row=row, author=author, defaults={"text": text})[0]
