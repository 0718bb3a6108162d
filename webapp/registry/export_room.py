"""Free memory and CPU cores of a node for an export, besides its running jobs."""

from __future__ import annotations

from webapp.registry.base_files import measure_weights
from webapp.registry.models import BaseModel
from webapp.work.models import Node, WorkState
from webapp.work.placement import find_free_devices
from workers.contract.exports import CPU_CORES

GIB = 2**30
COPIES = 4  # of weights in 16 bits: the merged model and the one loaded for the check, both in 32 bits
PROCESS_GIB = 1.0


def find_shortage(node: Node, base: BaseModel) -> str:
    """Return what the node lacks for an export of such a base; empty if it has room. Lock the node first."""
    if node.exports.filter(state=WorkState.RUNNING).exists():
        return f"{node} is making another export."
    if find_free_devices(node).cpu_cores < CPU_CORES:
        return f"Jobs use all CPU cores of {node}."
    needed, free = estimate_memory_gib(base), node.health.get("memory_free_gib")
    if needed is not None and free is not None and free < needed:
        return f"It needs about {needed:.1f} GiB of memory; {node} has {free:.1f} GiB free."
    return ""


def estimate_memory_gib(base: BaseModel) -> float | None:
    """Return the most memory that an export takes; None if the weights cannot be read."""
    size = measure_weights(base)
    return None if size is None else COPIES * size / GIB + PROCESS_GIB
