"""Placement: find the free devices of a node, and choose those for a work item."""

from __future__ import annotations

from typing import Any

from webapp.work.models import Node, WorkState
from workers.contract.exports import CPU_CORES as EXPORT_CORES


def find_free_devices(node: Node) -> dict[str, Any]:
    """Return the node's devices without those of the jobs and exports that run there."""
    running = node.jobs.filter(state=WorkState.RUNNING).values_list("devices", flat=True)
    taken = {index for devices in running for index in devices.get("gpus", [])}
    exports = node.exports.filter(state=WorkState.RUNNING).count()
    cores = sum(devices.get("cpu_cores", 0) for devices in running) + exports * EXPORT_CORES
    return {
        "cpu_cores": node.devices["cpu_cores"] - cores,
        "gpus": [gpu for gpu in node.devices["gpus"] if gpu["index"] not in taken],
    }


def choose_devices(wanted: dict[str, Any], free: dict[str, Any]) -> dict[str, Any] | None:
    """Choose devices for a request (``contract.spec.Resources``); None if too few are free."""
    gpus = [gpu["index"] for gpu in free["gpus"] if gpu["memory_gib"] >= wanted["gpu_memory_gib"]]
    if free["cpu_cores"] < wanted["cpu_cores"] or len(gpus) < wanted["gpus"]:
        return None
    return {"cpu_cores": wanted["cpu_cores"], "gpus": gpus[: wanted["gpus"]]}
