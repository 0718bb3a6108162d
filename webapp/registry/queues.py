"""The queues of exports and of inspections of base models."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import Q

from webapp.registry.export_room import find_shortage
from webapp.registry.models import Export, Inspection
from webapp.work import messages
from webapp.work.models import Node, WorkState
from webapp.work.queue import Queue


class ExportQueue(Queue[Export]):
    """Exports use a CPU core of their node: when one ends, a job may fit."""

    def change(self, pk: int, state: str, *, guard: Q, **values: Any) -> bool:
        changed = super().change(pk, state, guard=guard, **values)
        if changed and state != WorkState.RUNNING:
            messages.notify_workers("run_jobs")
        return changed


EXPORTS = ExportQueue(
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
    # Locked until the transaction ends, so that no job or other export takes the same room.
    node = Node.objects.select_for_update().filter(name=node_name).first()
    if node and (shortage := find_shortage(node, export.model.base_model)):
        queued.update(shortage=shortage)
        return None
    return EXPORTS.claim(export_id, node=node, shortage="")
