"""The JSON of a node's regular report."""

from __future__ import annotations

from typing import TypedDict


class GpuLoad(TypedDict):
    """The load of a GPU; memory in GiB."""

    index: int
    busy_percent: float
    memory_used_gib: float
    memory_gib: float


class NodeHealth(TypedDict, total=False):
    """Disk and memory in GiB, and load in percent. Empty until the node reports it."""

    disk_free_gib: float
    disk_gib: float
    memory_free_gib: float
    memory_gib: float
    cpu_busy_percent: float
    gpus: list[GpuLoad]
