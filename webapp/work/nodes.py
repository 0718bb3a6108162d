"""Nodes: registration, regular reports, and queries for online nodes and their load."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone

from webapp.work.models import Node
from workers.contract.devices import GivenDevices, NodeDevices

OFFLINE_AFTER = timedelta(minutes=1)
DELETED_AFTER = timedelta(days=30)


def register_node(name: str, versions: dict[str, Any], devices: NodeDevices, sandbox: dict[str, Any]) -> Node:
    """Create or update the node of a worker that has started."""
    now = timezone.now()
    values = {"versions": versions, "devices": devices, "sandbox": sandbox, "started_at": now, "seen_at": now}
    node, _ = Node.objects.update_or_create(name=name, defaults=values)
    return node


def record_health(name: str, health: Mapping[str, object]) -> None:
    """Store a worker's regular report (``NodeHealth``) and its time."""
    Node.objects.filter(name=name).update(seen_at=timezone.now(), health=health)


def delete_silent_nodes() -> None:
    """Delete nodes without a report for a month. A node that returns registers again."""
    Node.objects.filter(seen_at__lt=timezone.now() - DELETED_AFTER).delete()


@dataclass(frozen=True)
class DeviceUsage:
    """Load of a device in its node's last report.

    Memory in GiB; for the CPU it is the machine's.
    """

    device: str
    busy_percent: float
    memory_used: float
    memory: float


def find_usage(node: Node | None, devices: GivenDevices) -> list[DeviceUsage]:
    """Return the load of the work item's GPUs, or of the CPU; empty while unknown."""
    if node is None:
        return []
    assigned = {f"GPU {index}" for index in devices.gpus} or {"CPU"}
    return [each for each in read_usage(node) if each.device in assigned]


def read_usage(node: Node) -> list[DeviceUsage]:
    """Return the load of a node's CPU and GPUs; empty before its first report."""
    health = node.health
    if "cpu_busy_percent" not in health:
        return []
    used = round(health["memory_gib"] - health["memory_free_gib"], 1)
    gpus = (
        DeviceUsage(f"GPU {gpu['index']}", gpu["busy_percent"], gpu["memory_used_gib"], gpu["memory_gib"])
        for gpu in health["gpus"]
    )
    return [DeviceUsage("CPU", health["cpu_busy_percent"], used, health["memory_gib"]), *gpus]


def find_largest_gpu() -> float | None:
    """Return the memory in GiB of the largest online GPU, or None."""
    return max((gpu.memory_gib for node in find_online() for gpu in node.devices.gpus), default=None)


def find_online() -> QuerySet[Node]:
    """Return nodes with a report in the last minute."""
    return Node.objects.filter(seen_at__gt=timezone.now() - OFFLINE_AFTER)
