"""The page of workers: nodes, what runs where, and the queue."""

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

QUEUE_SHOWN = 50
LOW_DISK_GIB = 5


@dataclass(frozen=True)
class Shown:
    """A node as the page shows it."""

    node: Node
    online: bool
    jobs: list[Job]
    usage: list[nodes.DeviceUsage]

    @property
    def disk_is_low(self) -> bool:
        return bool(self.node.health.get("disk_free_gib", LOW_DISK_GIB) < LOW_DISK_GIB)


def shown_nodes() -> list[Shown]:
    """Every node, those that are online first."""
    online = set(nodes.find_online().values_list("pk", flat=True))
    running: dict[int | None, list[Job]] = defaultdict(list)
    for job in Job.objects.filter(state=State.RUNNING).select_related("team"):
        running[job.node_id].append(job)
    found = [
        Shown(node, node.pk in online, running[node.pk], nodes.read_usage(node))
        for node in Node.objects.all()
    ]
    return sorted(found, key=lambda each: not each.online)


@member()
@require_GET
def workers(request: HtmxRequest, access: Access) -> HttpResponse:
    """Nodes, what they have, and this team's share of what runs there."""
    queued = Job.objects.filter(state=State.QUEUED).order_by("queued_at", "id").select_related("team")
    waiting = queued.count()
    context = {
        "nodes": shown_nodes(),
        "queued": waiting,
        "ours": queued.filter(team=access.team).count(),
        "waiting": list(enumerate(queued[:QUEUE_SHOWN], start=1)),
        "beyond": max(waiting - QUEUE_SHOWN, 0),
    }
    part = "#live" if request.htmx.target == "workers" else ""
    return render(request, f"jobs/workers.html{part}", context)
