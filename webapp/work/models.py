"""Work items, which workers claim, and nodes, the machines of workers."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils import timezone

from webapp.core.fields import pydantic_field
from webapp.work.errors import WorkError
from workers.contract.devices import NodeDevices


class Node(models.Model):
    """A machine with a worker: its devices and load, and the time of its last report."""

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
    """Fields of work that one worker at a time may do. Only ``webapp.work.queue`` writes them.

    ``attempt`` is a fencing token: a write names its attempt, and a write of an older one changes nothing.
    """

    attempt = models.PositiveIntegerField(default=0, help_text="fencing token: every write names its attempt")
    crashes = models.PositiveIntegerField(default=0, help_text="attempts that ended without a result")
    lease_until = models.DateTimeField(null=True, blank=True)
    error: WorkError | None = pydantic_field(WorkError, null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        abstract = True


class WorkState(models.TextChoices):
    """State of a work item."""

    QUEUED = "queued", "Waiting for a worker"
    RUNNING = "running", "Running"
    FINISHED = "finished", "Finished"
    FAILED = "failed", "Failed"
    WAITING_FOR_ROWS = "rows", "Waiting for rows"  # a grader check of a team without data


class WorkItem(Leased):
    """Work of a few minutes that a page requests, such as a trial, a check or an export."""

    State = WorkState

    state = models.CharField(max_length=10, choices=WorkState.choices, default=WorkState.QUEUED)
    queued_at = models.DateTimeField(default=timezone.now)

    class Meta:
        abstract = True

    @property
    def pending(self) -> bool:
        """True until the item ends."""
        return self.state in {WorkState.QUEUED, WorkState.RUNNING}
