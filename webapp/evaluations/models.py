"""People's votes and notes on compared completions."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from webapp.jobs.models import ComparedRow
from webapp.teams.models import User

SAME = 1e-9  # the same as in workers.engine.evaluation.statistics


class Vote(models.Model):
    """A blind vote: which of a row's two first completions a person prefers."""

    class Preferred(models.TextChoices):
        TUNED = "tuned"
        BASE = "base"
        TIE = "tie"

    row = models.ForeignKey(ComparedRow, models.CASCADE, related_name="votes")
    user = models.ForeignKey(User, models.CASCADE, related_name="+")
    preferred = models.CharField(max_length=10, choices=Preferred.choices)
    created_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering: ClassVar = ["created_at"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["row", "user"], name="one_vote_per_person_and_row")
        ]

    def __str__(self) -> str:
        return f"{self.preferred} at {self.row_id}"


class Note(models.Model):
    """A member's note on a compared row, for the whole team."""

    LONGEST = 2000

    row = models.ForeignKey(ComparedRow, models.CASCADE, related_name="notes")
    author = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    text = models.TextField()
    written_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering: ClassVar = ["written_at"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["row", "author"], name="one_note_per_person_and_row")
        ]

    def __str__(self) -> str:
        return f"note on {self.row_id}"
