"""The queues of exports and of inspections of base models."""

from __future__ import annotations

from django.db import transaction

from webapp.registry.models import Export, Inspection
from webapp.registry.room import find_shortage
from webapp.work.models import WorkState
from webapp.work.queue import Queue

EXPORTS = Queue(
    Export,
    "exports",
    "run_export",
    "Often it is memory: use a larger worker.",
    related=("model__base_model", "model__team"),
)
INSPECTIONS = Queue(
    Inspection,
    "inspections",
    "inspect_base",
    "Inspect it again. If a worker is short of memory, use one with more of it.",
    related=("base",),
)


@transaction.atomic
def claim_export(export_id: int, node_name: str) -> Export | None:
    """Claim a queued export for a node. None if another worker was first, or if the node lacks room.

    What it lacks is stored in ``shortage``.
    """
    queued = Export.objects.filter(pk=export_id, state=WorkState.QUEUED)
    export = queued.select_related("model__base_model").first()
    if export is None:
        return None
    if shortage := find_shortage(node_name, export.model.base_model):
        queued.update(shortage=shortage)
        return None
    return EXPORTS.claim(export_id, node=node_name, shortage="")
