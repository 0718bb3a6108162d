"""Inspections of base models: how one is requested, what it found, what the page shows."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from webapp.core.fields import replace_nul
from webapp.registry.models import BaseModel, Inspection
from webapp.registry.queues import INSPECTIONS
from webapp.teams.models import User
from webapp.teams.services import record_event
from webapp.work import nodes

Json = dict[str, Any]
State = Inspection.State
GIB = 2**30


def request_inspection(base: BaseModel) -> None:
    """Have a worker inspect ``base``, anew if it was inspected before."""
    inspection, _ = Inspection.objects.get_or_create(base=base)
    INSPECTIONS.enqueue(inspection, report={})


@transaction.atomic
def request_again(base: BaseModel, user: User) -> None:
    """The same, for a person."""
    assert base.team is not None, "a model of everyone's ships with Groove"
    record_event(base.team, user, "inspected base model", base)
    request_inspection(base)


def finish_inspection(inspection: Inspection, report: Json) -> bool:
    """Store what was found. False, and nothing changes, if the attempt has lost the inspection."""
    state = State.FAILED if report.get("problem") else State.FINISHED
    return INSPECTIONS.finish(inspection, state, report=storable_json(report))


def storable_json(value: Any) -> Any:
    """``value`` with texts that PostgreSQL can hold: files of others may bring NUL along."""
    if isinstance(value, str):
        return replace_nul(value)
    if isinstance(value, dict):
        return {replace_nul(str(key)): storable_json(each) for key, each in value.items()}
    return [storable_json(each) for each in value] if isinstance(value, list) else value


def page(base: BaseModel) -> Json:
    """What the section of the base model's page shows."""
    inspection = Inspection.objects.filter(base=base).first()
    report: Json = inspection.report if inspection else {}
    facts = report.get("facts") or {}
    return {
        "inspection": inspection,
        "waiting": inspection is not None and inspection.pending,
        "worker_online": nodes.find_online().exists(),
        "problem": report.get("problem") or (inspection and inspection.error),
        "notes": report.get("notes") or [],
        "facts": facts,
        "rooms": rooms(facts["parameters"]) if facts.get("parameters") else [],
    }


def rooms(parameters: int) -> list[Json]:
    """For CPU and GPU: GiB that the weights alone take, and the most memory that a worker online has."""
    cpus = [node.health.get("memory_gib", 0.0) for node in nodes.find_online()]
    found = []
    for device, size, most in (("CPU", 4, max(cpus, default=None)), ("GPU", 2, nodes.find_largest_gpu())):
        needed = parameters * size / GIB
        found.append(
            {"device": device, "needed": needed, "most": most, "fits": most is not None and needed < most}
        )
    return found
