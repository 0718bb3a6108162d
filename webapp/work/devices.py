"""The JSON in which nodes report their devices, load and sandbox, and jobs keep their share of devices."""

from __future__ import annotations

from typing import TypedDict


class Gpu(TypedDict):
    """A GPU of a node."""

    index: int
    name: str
    memory_gib: float


class NodeDevices(TypedDict):
    """The devices of a node, or those that are free."""

    cpu_cores: int
    gpus: list[Gpu]


class AssignedDevices(TypedDict, total=False):
    """The devices of one work item: CPU cores and indexes of GPUs. Empty until it is claimed."""

    cpu_cores: int
    gpus: list[int]


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
