"""Delete models, which can be undone; restore them; delete them for good, with their files."""

from __future__ import annotations

from collections.abc import Iterator

from django.core.files.storage import default_storage
from django.db import transaction

from webapp.core.deletion import RemovalRefused
from webapp.jobs.models import Checkpoint
from webapp.jobs.states import TERMINAL
from webapp.registry.models import Export, TunedModel
from webapp.teams.models import User
from webapp.teams.services import record_event

NAMED = 3


@transaction.atomic
def delete_model(model: TunedModel, user: User | None) -> None:
    """Hide the model. Its files stay until it is deleted for good. Raises ``RemovalRefused``."""
    locked = _locked(model)
    going_on = locked.continued_by.exclude(state__in=TERMINAL).values_list("name", flat=True)
    if names := list(going_on):
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        raise RemovalRefused(
            f"{', '.join(f'“{name}”' for name in names[:NAMED])}{more} trains from this model. "
            "Wait until it ends or cancel it, then delete the model."
        )
    check_deployments(locked)
    if model.mark_deleted():
        record_event(locked.team, user, "deleted model", locked)


@transaction.atomic
def restore_model(model: TunedModel, user: User) -> None:
    """Undo ``delete_model``. Raises ``RemovalRefused``."""
    locked = _locked(model)
    if locked.purged:
        raise RemovalRefused("This model was deleted for good: its files are gone. Train or upload it again.")
    if model.mark_restored():
        record_event(locked.team, user, "restored model", locked)


@transaction.atomic
def purge_model(model: TunedModel, user: User) -> None:
    """Remove the files and exports of a deleted model; its name stays for lineage. Raises ``RemovalRefused``.

    Files go first: if that breaks off, the row still lists them and it can be asked for again.
    """
    locked = _locked(model)
    if locked.deleted_at is None:
        raise RemovalRefused("Delete the model first; then its files can be removed.")
    if locked.exports.filter(state=Export.State.RUNNING).exists():
        raise RemovalRefused("A worker is making an export of this model. Wait until it is done.")
    for key in _keys(locked):
        default_storage.delete(key)
    locked.exports.all().delete()
    locked.files = model.files = []
    locked.save(update_fields=["files"])
    record_event(locked.team, user, "deleted model for good", locked)


def _locked(model: TunedModel) -> TunedModel:
    return TunedModel.objects.select_for_update(of=("self",)).select_related("team").get(pk=model.pk)


def check_deployments(model: TunedModel | Checkpoint) -> None:
    """Raise ``RemovalRefused`` if a deployment answers with the model."""
    versions = model.served_versions.select_related("deployment")
    names = [f"“{each.deployment.name}”" for each in versions if each.deployment.stable == each]
    if names:
        raise RemovalRefused(
            f"This model answers as {', '.join(names[:NAMED])}. "
            "Deploy another model there, then delete this one."
        )


def _keys(model: TunedModel) -> Iterator[str]:
    others = TunedModel.objects.filter(prefix=model.prefix).exclude(pk=model.pk).exclude(files=[])
    own = [] if others.exists() else model.files
    for prefix, files in ((model.prefix, own), *model.exports.values_list("prefix", "files")):
        for file in files:
            yield f"{prefix}/{file['name']}"
