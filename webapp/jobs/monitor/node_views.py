"""The page of workers: nodes with their running jobs, and the queue."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from webapp.core.http import HtmxRequest
from webapp.jobs.models import Job
from webapp.jobs.states import State
from webapp.teams.access import Access, member
from webapp.work import nodes
from webapp.work.models import Node

QUEUE_ROWS = 50
LOW_DISK_GIB = 5


@dataclass(frozen=True)
class NodeStatus:
    """A node, its running jobs, and the use of its devices."""

    node: Node
    online: bool
    jobs: list[Job]
    usage: list[nodes.DeviceUsage]

    @property
    def disk_is_low(self) -> bool:
        return bool(self.node.health.get("disk_free_gib", LOW_DISK_GIB) < LOW_DISK_GIB)


def list_nodes() -> list[NodeStatus]:
    """Return every node, those that are online first."""
    online = set(nodes.find_online().values_list("pk", flat=True))
    running: dict[int | None, list[Job]] = defaultdict(list)
    for job in Job.objects.filter(state=State.RUNNING).select_related("team"):
        running[job.node_id].append(job)
    statuses = [
        NodeStatus(node, node.pk in online, running[node.pk], nodes.read_usage(node))
        for node in Node.objects.all()
    ]
    return sorted(statuses, key=lambda status: not status.online)


@member()
@require_GET
def workers(request: HtmxRequest, access: Access) -> HttpResponse:
    """Nodes with devices and jobs, and the queue. Names of other teams' jobs are hidden."""
    queued = Job.objects.filter(state=State.QUEUED).order_by("queued_at", "id").select_related("team")
    count = queued.count()
    context = {
        "nodes": list_nodes(),
        "queued": count,
        "queued_of_team": queued.filter(team=access.team).count(),
        "waiting": list(enumerate(queued[:QUEUE_ROWS], start=1)),
        "beyond": max(count - QUEUE_ROWS, 0),
    }
    part = "#live" if request.htmx.target == "workers" else ""
    return render(request, f"jobs/workers.html{part}", context)
