"""The inspection of a base model: requested when it is added, claimed by a worker, shown on its page."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from webapp.core.fields import storable
from webapp.jobs import bell, nodes
from webapp.registry.models import BaseModel, Inspection
from webapp.teams.models import User
from webapp.teams.services import record

Json = dict[str, Any]
State = Inspection.State
PATIENCE = timedelta(seconds=240)  # longer than an inspection may take
WAITING = {State.QUEUED, State.RUNNING}
GIB = 2**30
UNFINISHED = {
    "message": "The inspection did not end, in several attempts.",
    "remedy": "Inspect it again. If a worker is short of memory, use one with more of it.",
}


def request_inspection(base: BaseModel) -> None:
    """Have a worker inspect ``base``, anew if it was inspected before."""
    values = {"state": State.QUEUED, "crashes": 0, "report": {}, "queued_at": timezone.now()}
    inspection, _ = Inspection.objects.update_or_create(base=base, defaults=values)
    bell.ring("inspect_base", inspection.pk)


@transaction.atomic
def request_again(base: BaseModel, user: User) -> None:
    """The same, for a person."""
    assert base.team is not None, "a model of everyone's ships with Groove"
    record(base.team, user, "inspected base model", base)
    request_inspection(base)


def claim(inspection_id: int) -> Inspection | None:
    """The queued inspection as a new attempt; None if another worker was first."""
    queued = Inspection.objects.filter(pk=inspection_id, state=State.QUEUED)
    lease = timezone.now() + PATIENCE
    if not queued.update(state=State.RUNNING, attempt=F("attempt") + 1, lease_until=lease):
        return None
    return Inspection.objects.select_related("base").get(pk=inspection_id)


def finish(inspection: Inspection, report: Json) -> bool:
    """Stores what was found. False, and nothing changes, if the attempt has lost its lease."""
    state = State.FAILED if report.get("problem") else State.PASSED
    values = {"state": state, "report": storable_json(report), "finished_at": timezone.now()}
    return bool(_held(inspection).update(**values))


def storable_json(value: Any) -> Any:
    """``value`` with texts that PostgreSQL can hold: files of others may bring NUL along."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        return {storable(str(key)): storable_json(each) for key, each in value.items()}
    return [storable_json(each) for each in value] if isinstance(value, list) else value


def requeue_silent() -> None:
    """For beat: queue inspections of silent workers again or fail them, notify workers of all that wait."""
    for inspection in Inspection.objects.filter(state=State.RUNNING, lease_until__lt=timezone.now()):
        if inspection.crashes >= settings.MAX_DEATHS:
            finish(inspection, {"problem": UNFINISHED})
        else:
            _held(inspection).update(state=State.QUEUED, crashes=F("crashes") + 1)
    for inspection_id in Inspection.objects.filter(state=State.QUEUED).values_list("pk", flat=True):
        bell.ring("inspect_base", inspection_id)


def _held(inspection: Inspection) -> Any:
    return Inspection.objects.filter(pk=inspection.pk, attempt=inspection.attempt, state=State.RUNNING)


def page(base: BaseModel) -> Json:
    """What the section of the base model's page shows."""
    inspection = Inspection.objects.filter(base=base).first()
    report: Json = inspection.report if inspection else {}
    facts = report.get("facts") or {}
    return {
        "inspection": inspection,
        "waiting": inspection is not None and inspection.state in WAITING,
        "worker_online": nodes.online().exists(),
        "problem": report.get("problem"),
        "notes": report.get("notes") or [],
        "facts": facts,
        "rooms": rooms(facts["parameters"]) if facts.get("parameters") else [],
    }


def rooms(parameters: int) -> list[Json]:
    """For CPU and GPU: GiB that the weights alone take, and the most memory that a worker online has."""
    cpus = [node.health.get("memory_gib", 0.0) for node in nodes.online()]
    found = []
    for device, size, most in (("CPU", 4, max(cpus, default=None)), ("GPU", 2, nodes.largest_gpu())):
        needed = parameters * size / GIB
        found.append(
            {"device": device, "needed": needed, "most": most, "fits": most is not None and needed < most}
        )
    return found
