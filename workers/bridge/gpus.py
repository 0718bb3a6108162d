"""The NVIDIA GPUs of this machine, read over NVML: neither torch nor Django is imported."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pynvml

from workers.contract.devices import Gpu

GIB = 2**30


def find_gpus() -> list[Gpu]:
    """The NVIDIA GPUs this worker may use, with their memory; none where there is no driver.

    ``CUDA_VISIBLE_DEVICES`` of the worker, if it lists indices, narrows them: so two workers share a machine.
    """
    return [Gpu(**gpu) for gpu in _read_each(_describe)]


def read_load() -> list[dict[str, Any]]:
    """The same GPUs with the memory in use and how busy they are."""
    return _read_each(_describe_load)


def _read_each(read: Callable[[int, Any], dict[str, Any]]) -> list[dict[str, Any]]:
    try:
        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        found = [read(index, handle) for index, handle in enumerate(handles)]
    except pynvml.NVMLError:
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return found if visible is None else [gpu for gpu in found if str(gpu["index"]) in visible.split(",")]


def _describe(index: int, handle: Any) -> dict[str, Any]:
    return {
        "index": index,
        "name": str(pynvml.nvmlDeviceGetName(handle)),
        "memory_gib": round(pynvml.nvmlDeviceGetMemoryInfo(handle).total / GIB, 1),
    }


def _describe_load(index: int, handle: Any) -> dict[str, Any]:
    return _describe(index, handle) | {
        "memory_used_gib": round(pynvml.nvmlDeviceGetMemoryInfo(handle).used / GIB, 1),
        "busy_percent": pynvml.nvmlDeviceGetUtilizationRates(handle).gpu,
    }
