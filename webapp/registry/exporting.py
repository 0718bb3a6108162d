"""The life of an export: asked for, leased by one worker, kept once it was checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from webapp.config.fields import storable
from webapp.jobs import bell
from webapp.teams.models import User
from webapp.teams.services import record
from workers.contract.exports import KINDS, ExportKind

from . import packages
from .base_files import refusals
from .models import BaseModel, Export, TunedModel
from .room import find_shortage

Json = dict[str, Any]
State = Export.State
WAITING = {State.QUEUED, State.RUNNING}


class ExportRefused(ValueError):
    """The base model cannot be exported so; the message says why."""


@dataclass(frozen=True)
class Offer:
    """A kind of export and where it stands for one model; ``refused`` is None where nothing is known."""

    kind: ExportKind
    refused: str | None
    export: Export | None = None
    commands: Sequence[str] = ()

    @property
    def waiting(self) -> bool:
        return self.export is not None and self.export.state in WAITING

    @property
    def ready(self) -> bool:
        return self.export is not None and self.export.state == State.READY

    @property
    def base_hint(self) -> str:
        """How to get the base where the export should hold it and does not; else empty."""
        if self.export is None or self.kind.base_file in {file["name"] for file in self.export.files}:
            return ""
        return self.kind.base_hint.format(base=self.export.model.base_model)

    @property
    def bytes(self) -> int:
        return sum(file["bytes"] for file in self.export.files) if self.export else 0


def offers(base: BaseModel) -> list[Offer]:
    """All kinds, for a base model."""
    refused = refusals(base) or {}
    return [Offer(kind, refused.get(kind.id)) for kind in KINDS.values()]


def page(model: TunedModel) -> Json:
    """What the section on a model's page shows."""
    made = {export.kind: export for export in model.exports.all()}
    shown = [
        replace(offer, export=made.get(offer.kind.id), commands=packages.export_commands(model, offer.kind))
        for offer in offers(model.base_model)
    ]
    return {"offers": shown, "exporting": any(offer.waiting for offer in shown)}


def outlook(base: BaseModel | None) -> Json:
    """What the form of a new job says about exports; ``known`` is false where no file could be read."""
    if base is None:
        return {"export_offers": [], "exports_known": False}
    return {"export_offers": offers(base), "exports_known": refusals(base) is not None}


@transaction.atomic
def request_export(model: TunedModel, user: User, kind: str) -> Export:
    """Have a worker make it, anew if it failed. ``kind`` is the id of one.

    Raises ``ExportRefused`` if it is known to be impossible.
    """
    assert kind in KINDS
    if reason := (refusals(model.base_model) or {}).get(kind):
        raise ExportRefused(reason)
    export, new = Export.objects.get_or_create(model=model, kind=kind, defaults={"created_by": user})
    again = Export.objects.filter(pk=export.pk, state=State.FAILED)
    if new or again.update(
        state=State.QUEUED, queued_at=timezone.now(), deaths=0, error=None, created_by=user
    ):
        record(model.team, user, "asked for export", export)
        bell.ring("run_export", export.pk)
    return export


def _lease() -> datetime:
    return timezone.now() + timedelta(seconds=settings.LEASE_SECONDS)


@transaction.atomic
def take(export_id: int, node_name: str = "") -> Export | None:
    """The queued export, leased; None if another worker was first or the node has no room, which it says."""
    queued = Export.objects.filter(pk=export_id, state=State.QUEUED)
    export = queued.select_related("model__base_model").first()
    if export is None:
        return None
    if shortage := find_shortage(node_name, export.model.base_model):
        queued.update(shortage=shortage)
        return None
    leased = {"attempt": F("attempt") + 1, "lease_until": _lease(), "node": node_name, "shortage": ""}
    if not queued.update(state=State.RUNNING, **leased):
        return None
    return Export.objects.select_related("model__base_model", "model__team").get(pk=export_id)


def _held(export: Export) -> Q:
    return Q(pk=export.pk, attempt=export.attempt, state=State.RUNNING)


def renew(export: Export) -> bool:
    """Keep it for another lease; False if it was taken away."""
    return bool(Export.objects.filter(_held(export)).update(lease_until=_lease()))


def finish(export: Export, prefix: str, files: list[Json], verification: Json) -> bool:
    """It lies complete and checked in storage. False if the lease was lost before."""
    values = {"prefix": prefix, "files": files, "verification": verification, "finished_at": timezone.now()}
    return bool(Export.objects.filter(_held(export)).update(state=State.READY, **values))


def fail(export: Export, message: str, remedy: str) -> None:
    """It could not be made, or was not the model when loaded again."""
    error = {"message": storable(message), "remedy": storable(remedy)}
    Export.objects.filter(_held(export)).update(state=State.FAILED, error=error, finished_at=timezone.now())


def ring_again() -> None:
    """For beat: exports of silent workers queue again, or fail after too many; ring for all that wait."""
    for export in Export.objects.filter(state=State.RUNNING, lease_until__lt=timezone.now()):
        if export.deaths >= settings.MAX_DEATHS:
            fail(
                export, "Its worker fell silent, again and again.", "Often it is memory: use a larger worker."
            )
        else:
            Export.objects.filter(_held(export)).update(state=State.QUEUED, deaths=F("deaths") + 1)
    for export_id in Export.objects.filter(state=State.QUEUED).values_list("pk", flat=True):
        bell.ring("run_export", export_id)
