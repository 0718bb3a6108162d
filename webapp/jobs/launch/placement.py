"""Placement of a job: which workers have the devices, the queue, and the team's limit."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Count, Q

from webapp.jobs.models import Job
from webapp.jobs.states import State
from webapp.teams.models import Team
from webapp.work import nodes
from webapp.work.placement import choose_devices, find_free_devices
from workers.contract.spec import Resources


@dataclass(frozen=True)
class Placement:
    """``refused`` explains why nothing could start now; ``able`` names online workers with the devices."""

    refused: str
    able: list[str]
    ahead: int
    running: int
    limit: int | None


def find_placement(wanted: Resources, team: Team) -> Placement:
    """Return where a job of ``team`` could run that asks for ``wanted`` and is not queued yet."""
    online = list(nodes.find_online())
    able = [node.name for node in online if choose_devices(wanted, node.devices)]
    jobs = Job.objects.filter(state__in=[State.QUEUED, State.RUNNING]).aggregate(
        ahead=Count("pk", filter=Q(state=State.QUEUED)),
        running=Count("pk", filter=Q(state=State.RUNNING, team=team)),
    )
    running, limit = jobs["running"], team.max_running_jobs
    refused = ""
    if not online:
        refused = "No worker is online. Start one with `make worker`."
    elif limit is not None and running >= limit:
        refused = f"The team runs {limit} job{'s' * (limit != 1)} at once, which is its limit."
    elif not able:
        refused = "No worker that is online has the devices this job asks for."
    return Placement(refused, able, jobs["ahead"], running, limit)


def explain_waiting(job: Job, position: int) -> str:
    """Explain why a queued job, number ``position`` in the queue, has not started."""
    wanted = job.settings.resources
    if refused := find_placement(wanted, job.team).refused:
        return refused
    if not any(choose_devices(wanted, find_free_devices(node)) for node in nodes.find_online()):
        return "Workers that fit are busy with other jobs or exports."
    return "Starting…" if position == 1 else "Jobs before it start first."
