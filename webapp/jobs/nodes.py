"""Nodes: machines announce themselves and are missed when they fall silent."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone

from .models import Node

SILENCE = timedelta(minutes=1)


def announce(name: str, versions: dict[str, Any], devices: dict[str, Any], sandbox: dict[str, Any]) -> Node:
    """A worker has started."""
    now = timezone.now()
    values = {"versions": versions, "devices": devices, "sandbox": sandbox, "started_at": now, "seen_at": now}
    node, _ = Node.objects.update_or_create(name=name, defaults=values)
    return node


def seen(name: str, health: dict[str, float]) -> None:
    """The worker is alive, with so much room."""
    Node.objects.filter(name=name).update(seen_at=timezone.now(), health=health)


def online() -> QuerySet[Node]:
    """Nodes heard of within the last minute."""
    return Node.objects.filter(seen_at__gt=timezone.now() - SILENCE)
