"""Whether a node has room for an export beside the jobs that run there."""

from __future__ import annotations

from webapp.jobs.leases import free_devices
from webapp.jobs.models import Node
from workers.exports import CPU_CORES

from .base_files import weight_bytes
from .models import BaseModel, Export

GIB = 2**30
COPIES = 4  # of the stored weights: the merged model and the one that is loaded again, both in 32 bits
PROCESS_GIB = 1.0


def find_shortage(node_name: str, base: BaseModel) -> str:
    """What the node lacks for an export of such a base; empty if it has room, or has not announced itself.

    The node's row stays locked until the transaction ends, so that two exports do not take the same room.
    """
    node = Node.objects.select_for_update().filter(name=node_name).first()
    if node is None:
        return ""
    if Export.objects.filter(node=node_name, state=Export.State.RUNNING).exists():
        return f"{node_name} makes another export."
    if free_devices(node)["cpu_cores"] < CPU_CORES:
        return f"Jobs use all CPU cores of {node_name}."
    needed, free = memory_gib(base), node.health.get("memory_free_gib")
    if needed is not None and free is not None and free < needed:
        return f"It needs about {needed:.1f} GiB of memory; {node_name} has {free:.1f} GiB free."
    return ""


def memory_gib(base: BaseModel) -> float | None:
    """What an export takes at most; None where the weights cannot be seen."""
    size = weight_bytes(base)
    return None if size is None else COPIES * size / GIB + PROCESS_GIB
