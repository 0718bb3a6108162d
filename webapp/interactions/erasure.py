"""Delete interactions: one, all of a person, and those whose time is over."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import transaction
from django.db.models import Exists, Model, OuterRef, QuerySet
from django.utils import timezone

from webapp.datasets.models import DatasetVersion
from webapp.interactions.models import DatasetCopy, Feedback, Interaction, Placeholder
from webapp.teams.models import Team, User
from webapp.teams.services import record_event

BATCH = 1000


@dataclass(frozen=True)
class Erasure:
    """What was erased, and the dataset versions that still hold copies."""

    interactions: int
    versions: list[DatasetVersion]


@transaction.atomic
def delete_interaction(interaction: Interaction, user: User | None) -> None:
    """Delete an interaction with its feedback. Copies in datasets stay."""
    record_event(interaction.team, user, "deleted interaction", interaction)
    interaction.delete()
    _delete_orphans(interaction.team, [interaction.session_hash])


@transaction.atomic
def erase_subject(team: Team, user: User | None, subject_hash: str) -> Erasure:
    """Delete everything kept of a person. Datasets are immutable: the result names those with copies."""
    found = Interaction.objects.filter(team=team, subject_hash=subject_hash)
    sessions = list(found.values_list("session_hash", flat=True).distinct())
    erased = found.count()
    found.delete()
    _delete_orphans(team, sessions)
    record_event(team, user, "erased person", f"{subject_hash}, {erased} interactions")
    return Erasure(erased, find_copies(team, subject_hash))


def is_known(team: Team, subject_hash: str) -> bool:
    """Return True if something is kept of the person, or was copied into a dataset."""
    same = {"team": team, "subject_hash": subject_hash}
    return Interaction.objects.filter(**same).exists() or DatasetCopy.objects.filter(**same).exists()


def find_copies(team: Team, subject_hash: str) -> list[DatasetVersion]:
    """Return the dataset versions that hold copies of a person's interactions."""
    copies = DatasetCopy.objects.filter(team=team, subject_hash=subject_hash).values("version")
    return list(DatasetVersion.objects.filter(pk__in=copies).select_related("dataset__team"))


def _delete_orphans(team: Team, sessions: list[str]) -> None:
    """Delete what remains of sessions without interactions."""
    for model in (Feedback, Placeholder):
        rows: QuerySet[Model] = model._default_manager.filter(team=team, session_hash__in=sessions)
        _select_orphans(rows).delete()


def _select_orphans(rows: QuerySet[Model]) -> QuerySet[Model]:
    kept = Interaction.objects.filter(team=OuterRef("team"), session_hash=OuterRef("session_hash"))
    return rows.exclude(session_hash="").filter(~Exists(kept))


def delete_expired() -> int:
    """Delete interactions that have expired. Returns their number. Celery beat calls it every hour."""
    deleted = 0
    while batch := list(Interaction.objects.filter(expires_at__lte=timezone.now()).order_by("pk")[:BATCH]):
        with transaction.atomic():
            Interaction.objects.filter(pk__in=[each.pk for each in batch]).delete()
            for team in {each.team_id: each.team for each in batch}.values():
                _delete_orphans(team, [each.session_hash for each in batch if each.team_id == team.pk])
        deleted += len(batch)
    return deleted
