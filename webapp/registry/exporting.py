"""Exports of a model: which are offered, where each stands, and how one is requested."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.db import transaction

from webapp.registry import packages
from webapp.registry.base_files import refusals
from webapp.registry.models import BaseModel, Export, TunedModel
from webapp.registry.queues import EXPORTS
from webapp.teams.models import User
from webapp.teams.services import record_event
from workers.contract.exports import KINDS, ExportKind

Json = dict[str, Any]
State = Export.State


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
        return self.export is not None and self.export.pending

    @property
    def ready(self) -> bool:
        return self.export is not None and self.export.state == State.FINISHED

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
    export = Export.objects.select_for_update().get(pk=export.pk)
    if new or export.state == State.FAILED:
        record_event(model.team, user, "asked for export", export)
        EXPORTS.enqueue(export, created_by=user)
    return export
