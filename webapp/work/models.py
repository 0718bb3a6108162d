"""Work items, which workers claim, and nodes, the machines on which workers run."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils import timezone

from webapp.core.fields import pydantic_field
from webapp.work.errors import WorkError
from workers.contract.devices import NodeDevices


class Node(models.Model):
    """A machine with a worker: what it has, and when it was last heard of."""

    name = models.CharField(max_length=200, unique=True)
    versions = models.JSONField(default=dict)
    devices: NodeDevices = pydantic_field(NodeDevices, default=NodeDevices)
    sandbox = models.JSONField(default=dict, help_text="{available, layers, reason, remedy}")
    health = models.JSONField(
        default=dict, help_text="room, and how busy CPU and GPUs are: workers.bridge.nodes.read_health"
    )
    started_at = models.DateTimeField()
    seen_at = models.DateTimeField()

    class Meta:
        ordering: ClassVar = ["name"]

    def __str__(self) -> str:
        return self.name


class Leased(models.Model):
    """Fields of work that one worker at a time does. Only ``webapp.work.queue`` writes them.

    ``attempt`` is a fencing token: a write names the attempt, and one of an earlier attempt changes nothing.
    """

    attempt = models.PositiveIntegerField(default=0, help_text="fencing token: a write names the attempt")
    crashes = models.PositiveIntegerField(default=0, help_text="attempts that ended without a result")
    lease_until = models.DateTimeField(null=True, blank=True)
    error: WorkError | None = pydantic_field(WorkError, null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        abstract = True


class WorkState(models.TextChoices):
    """Where a work item is."""

    QUEUED = "queued", "Waiting for a worker"
    RUNNING = "running", "Running"
    FINISHED = "finished", "Finished"
    FAILED = "failed", "Failed"
    WAITING_FOR_ROWS = "rows", "Waiting for rows"  # a grader check of a team without data


class WorkItem(Leased):
    """Work of a few minutes that a worker does for a page: a trial, a check, an export, …"""

    State = WorkState

    state = models.CharField(max_length=10, choices=WorkState.choices, default=WorkState.QUEUED)
    queued_at = models.DateTimeField(default=timezone.now)

    class Meta:
        abstract = True

    @property
    def pending(self) -> bool:
        """True until the item has ended."""
        return self.state in {WorkState.QUEUED, WorkState.RUNNING}
