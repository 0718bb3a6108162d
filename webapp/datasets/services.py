"""Rename, delete and restore datasets."""

from __future__ import annotations

from django.db import transaction

from webapp.core.fields import replace_nul
from webapp.datasets.models import Dataset
from webapp.teams.access import Access
from webapp.teams.models import User
from webapp.teams.services import record_event

NAME_LENGTH = 120


def get_target(access: Access, uid: str | None) -> Dataset | None:
    """Return the dataset that gets a new version, or None without a ``uid``. Raises Http404."""
    return access.get(Dataset.objects.alive(), uid=uid) if uid else None


@transaction.atomic
def rename_dataset(dataset: Dataset, user: User, name: str) -> None:
    """Rename a dataset. Raises ValueError with the remedy."""
    name = replace_nul(name).strip()
    if not 0 < len(name) <= NAME_LENGTH:
        raise ValueError(f"Give the dataset a name of 1 to {NAME_LENGTH} characters.")
    record_event(dataset.team, user, "renamed dataset", f"{dataset.name} to {name}")
    Dataset.objects.filter(pk=dataset.pk).update(name=name)


@transaction.atomic
def delete_dataset(dataset: Dataset, user: User) -> None:
    """Hide a dataset. Its files stay: running jobs can read them, and it can be restored."""
    if dataset.mark_deleted():
        record_event(dataset.team, user, "deleted dataset", dataset)


@transaction.atomic
def restore_dataset(dataset: Dataset, user: User) -> None:
    """Restore a deleted dataset."""
    if dataset.mark_restored():
        record_event(dataset.team, user, "restored dataset", dataset)
