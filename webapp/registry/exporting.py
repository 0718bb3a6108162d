"""Exports of a model: list the kinds with their state, request one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from django.db import transaction

from webapp.registry import packages
from webapp.registry.base_files import find_refusals
from webapp.registry.models import BaseModel, Export, TunedModel
from webapp.registry.queues import EXPORTS
from webapp.teams.models import User
from webapp.teams.services import record_event
from workers.contract.exports import KINDS, ExportKind

State = Export.State


class ExportRefused(ValueError):
    """This kind of export is impossible for the base model; the message says why."""


@dataclass(frozen=True)
class Offer:
    """A kind of export with its state for one model. ``refused`` is None if it is possible or unknown."""

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
        """How to get the base, if the export should hold it and does not; else empty."""
        if self.export is None or self.kind.base_file in {file["name"] for file in self.export.files}:
            return ""
        return self.kind.base_hint.format(base=self.export.model.base_model)

    @property
    def bytes(self) -> int:
        return sum(file["bytes"] for file in self.export.files) if self.export else 0


def list_offers(base: BaseModel) -> list[Offer]:
    """Return all kinds of exports for a base model."""
    refused = find_refusals(base) or {}
    return [Offer(kind, refused.get(kind.id)) for kind in KINDS.values()]


def build_context(model: TunedModel) -> dict[str, object]:
    """Return what the section on a model's page shows."""
    exports = {export.kind: export for export in model.exports.all()}
    offers = [
        replace(
            offer,
            export=exports.get(offer.kind.id),
            commands=packages.export_commands(model, offer.kind),
        )
        for offer in list_offers(model.base_model)
    ]
    return {"offers": offers, "exporting": any(offer.waiting for offer in offers)}


def build_forecast_context(base: BaseModel | None) -> dict[str, object]:
    """Return what the form of a new job shows of exports; ``exports_known`` if files could be read."""
    if base is None:
        return {"export_offers": [], "exports_known": False}
    return {"export_offers": list_offers(base), "exports_known": find_refusals(base) is not None}


@transaction.atomic
def request_export(model: TunedModel, user: User, kind: str) -> Export:
    """Enqueue an export of the kind with this id, also if an earlier one failed.

    Raises ``ExportRefused`` if it is known to be impossible.
    """
    assert kind in KINDS
    if reason := (find_refusals(model.base_model) or {}).get(kind):
        raise ExportRefused(reason)
    export, new = Export.objects.get_or_create(model=model, kind=kind, defaults={"created_by": user})
    export = Export.objects.select_for_update().get(pk=export.pk)
    if new or export.state == State.FAILED:
        record_event(model.team, user, "requested export", export)
        EXPORTS.enqueue(export, created_by=user)
    return export
