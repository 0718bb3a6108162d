"""The queue of model servers."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import Q

from webapp.registry.base_files import measure_weights
from webapp.registry.models import BaseModel
from webapp.serving.models import ModelServer
from webapp.work.models import Node, WorkState
from webapp.work.queue import Queue

GIB = 2**30
COPIES = 2  # of weights in 16 bits: they are loaded in 32 bits on a CPU
PROCESS_GIB = 1.0
STOPPED = {"url": "", "token": None}


class ServerQueue(Queue[ModelServer]):
    """Model servers. URL and token belong to one attempt and vanish with it."""

    def change(self, pk: int, state: str, *, guard: Q, **values: Any) -> bool:
        return super().change(pk, state, guard=guard, **(STOPPED | values))


SERVERS = ServerQueue(
    ModelServer,
    "model_servers",
    "serve_model",
    "Often it is memory: use a larger worker.",
    related=("base_model",),
)


@transaction.atomic
def claim_server(server_id: int, node_name: str) -> ModelServer | None:
    """Claim a queued server for a node. None if another worker was first, or if the node lacks memory.

    What it lacks is stored in ``shortage``.
    """
    queued = ModelServer.objects.filter(pk=server_id, state=WorkState.QUEUED)
    server = queued.select_related("base_model").first()
    if server is None:
        return None
    node = Node.objects.select_for_update().filter(name=node_name).first()
    if node and (shortage := find_shortage(node, server.base_model)):
        queued.update(shortage=shortage)
        return None
    return SERVERS.claim(server_id, node=node, shortage="")


def find_shortage(node: Node, base: BaseModel) -> str:
    """Return what memory the node lacks to serve the model; empty if it suffices or is unknown."""
    size, free = measure_weights(base), node.health.get("memory_free_gib")
    if size is None or free is None:
        return ""
    needed = COPIES * size / GIB + PROCESS_GIB
    if free >= needed:
        return ""
    return f"It needs about {needed:.1f} GiB of memory; {node} has {free:.1f} GiB free."
