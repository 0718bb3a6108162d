"""Nodes: machines announce themselves and are missed when they fall silent."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone

from webapp.work.models import Node

SILENCE = timedelta(minutes=1)
FORGOTTEN_AFTER = timedelta(days=30)


def register_node(
    name: str, versions: dict[str, Any], devices: dict[str, Any], sandbox: dict[str, Any]
) -> Node:
    """A worker has started."""
    now = timezone.now()
    values = {"versions": versions, "devices": devices, "sandbox": sandbox, "started_at": now, "seen_at": now}
    node, _ = Node.objects.update_or_create(name=name, defaults=values)
    return node


def record_health(name: str, health: dict[str, Any]) -> None:
    """The worker is alive, with so much room and so busy."""
    Node.objects.filter(name=name).update(seen_at=timezone.now(), health=health)


def delete_silent_nodes() -> None:
    """Drop nodes that have been silent for a month; one that comes back announces itself anew."""
    Node.objects.filter(seen_at__lt=timezone.now() - FORGOTTEN_AFTER).delete()


@dataclass(frozen=True)
class DeviceUsage:
    """How busy a device was when its node last said so; memory in GiB, a CPU's is the machine's."""

    device: str
    busy_percent: float
    memory_used: float
    memory: float


def find_usage(node: Node | None, devices: dict[str, Any]) -> list[DeviceUsage]:
    """Of the devices that work holds on ``node``: its GPUs, or without any the CPU; empty while unknown."""
    if node is None:
        return []
    held = {f"GPU {index}" for index in devices.get("gpus", [])} or {"CPU"}
    return [each for each in read_usage(node) if each.device in held]


def read_usage(node: Node) -> list[DeviceUsage]:
    """Of a node's CPU and GPUs, as far as it has told."""
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
    """GiB of the largest GPU that is online; None without any."""
    return max((gpu["memory_gib"] for node in find_online() for gpu in node.devices["gpus"]), default=None)


def find_online() -> QuerySet[Node]:
    """Nodes heard of within the last minute."""
    return Node.objects.filter(seen_at__gt=timezone.now() - SILENCE)
