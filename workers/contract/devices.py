"""Devices of a machine, and those given to one child process."""

from __future__ import annotations

from workers.contract.schema import Frozen


class Gpu(Frozen):
    """An NVIDIA GPU. ``index`` is its place on the machine, as in ``CUDA_VISIBLE_DEVICES``."""

    index: int
    name: str = ""
    memory_gib: float


class NodeDevices(Frozen):
    """What a machine offers to jobs."""

    cpu_cores: int = 0
    gpus: list[Gpu] = []


class GivenDevices(Frozen):
    """What one job or other work item holds: a number of CPU cores, and GPUs by their index."""

    cpu_cores: int = 0
    gpus: list[int] = []
