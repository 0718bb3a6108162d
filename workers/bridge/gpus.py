"""NVIDIA GPUs of this machine, read by NVML: neither torch nor Django is imported."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, TypedDict, TypeVar

import pynvml

from workers.contract.devices import Gpu

GIB = 2**30


class _Description(TypedDict):
    index: int
    name: str
    memory_gib: float


class GpuLoad(_Description):
    """A GPU with its memory in use and how busy it is."""

    memory_used_gib: float
    busy_percent: int


Described = TypeVar("Described", bound=Mapping[str, object])


def find_gpus() -> list[Gpu]:
    """Return the GPUs that this worker may use; empty without a driver.

    ``CUDA_VISIBLE_DEVICES`` of the worker restricts them if it lists indices, so two workers can share a
    machine.
    """
    return [Gpu.model_validate(gpu) for gpu in _read_each(_describe)]


def read_load() -> list[GpuLoad]:
    """Return the same GPUs with their load."""
    return _read_each(_describe_load)


def _read_each(read: Callable[[int, Any], Described]) -> list[Described]:
    try:
        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        found = [read(index, handle) for index, handle in enumerate(handles)]
    except pynvml.NVMLError:
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return found if visible is None else [gpu for gpu in found if str(gpu["index"]) in visible.split(",")]


def _describe(index: int, handle: Any) -> _Description:
    return {
        "index": index,
        "name": str(pynvml.nvmlDeviceGetName(handle)),
        "memory_gib": round(pynvml.nvmlDeviceGetMemoryInfo(handle).total / GIB, 1),
    }


def _describe_load(index: int, handle: Any) -> GpuLoad:
    return {
        **_describe(index, handle),
        "memory_used_gib": round(pynvml.nvmlDeviceGetMemoryInfo(handle).used / GIB, 1),
        "busy_percent": pynvml.nvmlDeviceGetUtilizationRates(handle).gpu,
    }
