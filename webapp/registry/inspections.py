"""Inspections of base models: request one, store its report, build the page's context."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db import transaction

from webapp.core.fields import replace_nul
from webapp.registry.models import BaseModel, Inspection
from webapp.registry.queues import INSPECTIONS
from webapp.teams.models import User
from webapp.teams.services import record_event
from webapp.work import nodes
from workers.contract.json_types import JsonObject

State = Inspection.State
GIB = 2**30


def request_inspection(base: BaseModel) -> None:
    """Enqueue an inspection of ``base``, also a repeated one."""
    inspection, _ = Inspection.objects.get_or_create(base=base)
    INSPECTIONS.enqueue(inspection, report={})


@transaction.atomic
def request_again(base: BaseModel, user: User) -> None:
    """Enqueue a repeated inspection that a person requested."""
    assert base.team is not None, "a shared model ships with Groove"
    record_event(base.team, user, "inspected base model", base)
    request_inspection(base)


def finish_inspection(inspection: Inspection, report: JsonObject) -> bool:
    """Store the report. Return False, without a change, if the attempt has lost the inspection."""
    state = State.FAILED if report.get("problem") else State.FINISHED
    return INSPECTIONS.finish(inspection, state, report=storable_json(report))


def storable_json(value: Any) -> Any:
    """Return ``value`` with texts that PostgreSQL can hold: foreign files may contain NUL."""
    if isinstance(value, str):
        return replace_nul(value)
    if isinstance(value, dict):
        return {replace_nul(str(key)): storable_json(each) for key, each in value.items()}
    return [storable_json(each) for each in value] if isinstance(value, list) else value


def build_context(base: BaseModel) -> dict[str, object]:
    """Return what the section of the base model's page shows."""
    inspection = Inspection.objects.filter(base=base).first()
    report = inspection.report if inspection else {}
    facts = report.get("facts") or {}
    return {
        "inspection": inspection,
        "waiting": inspection is not None and inspection.pending,
        "worker_online": nodes.find_online().exists(),
        "problem": report.get("problem") or (inspection and inspection.error),
        "notes": report.get("notes") or [],
        "facts": facts,
        "rooms": compare_memory(facts["parameters"]) if facts.get("parameters") else [],
    }


@dataclass(frozen=True)
class DeviceMemory:
    """GiB that the weights need on a kind of device, and the largest memory of the workers online."""

    device: str
    needed: float
    most: float | None

    @property
    def fits(self) -> bool:
        return self.most is not None and self.needed < self.most


def compare_memory(parameters: int) -> list[DeviceMemory]:
    """Return the memory that the weights need on CPU and GPU, and what workers have."""
    cpus = [node.health.get("memory_gib", 0.0) for node in nodes.find_online()]
    return [
        DeviceMemory("CPU", parameters * 4 / GIB, max(cpus, default=None)),
        DeviceMemory("GPU", parameters * 2 / GIB, nodes.find_largest_gpu()),
    ]
