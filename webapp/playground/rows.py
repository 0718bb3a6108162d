"""A row of a dataset as the playground's prompt. The test split stays sealed: nothing here reads it."""

from __future__ import annotations

from dataclasses import dataclass

from django.shortcuts import get_object_or_404

from webapp.datasets.models import DatasetVersion
from webapp.graders.rows import Row
from webapp.graders.trials.row_selection import SPLITS, read_rows
from webapp.teams.models import Team


@dataclass(frozen=True)
class PromptRow:
    """A row by its number, from 1 to ``count``. ``row`` is None for a number beyond."""

    version: DatasetVersion
    split: str
    number: int
    count: int
    row: Row | None


def find_row(team: Team, version: str, split: str, number: int) -> PromptRow:
    """Return the row. Raises Http404 for another team's version."""
    versions = DatasetVersion.objects.select_related("dataset__team")
    found = get_object_or_404(versions, dataset__team=team, dataset__deleted_at=None, uid=version)
    split = split if split in SPLITS else SPLITS[0]
    count = found.files[split]["rows"]
    rows = read_rows(found, split, [number - 1]) if 1 <= number <= count else []
    return PromptRow(found, split, number, count, rows[0] if rows else None)
