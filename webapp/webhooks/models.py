"""Webhook endpoints of a team, the events sent to them, and each delivery of an event."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.urls import reverse
from encrypted_fields.fields import EncryptedTextField

from webapp.core.fields import PublicIdField
from webapp.core.models import Authored
from webapp.teams.models import Team

NAME_LENGTH = 120
URL_LENGTH = 500


class EventType(models.TextChoices):
    """Events that webhooks announce. The first part of a name says what kind of object has changed."""

    JOB_SUCCEEDED = "fine_tuning.job.succeeded", "Job succeeded"
    JOB_FAILED = "fine_tuning.job.failed", "Job failed"
    JOB_CANCELLED = "fine_tuning.job.cancelled", "Job cancelled"
    RUN_SUCCEEDED = "eval.run.succeeded", "Eval run succeeded"
    RUN_FAILED = "eval.run.failed", "Eval run failed"
    RUN_CANCELED = "eval.run.canceled", "Eval run canceled"


class WebhookEndpoint(Authored):
    """A URL that receives events. ``old_secret`` also signs, until ``old_secret_until``."""

    uid = PublicIdField("wh_")
    team = models.ForeignKey(Team, models.CASCADE, related_name="webhook_endpoints")
    name = models.CharField(max_length=NAME_LENGTH)
    url = models.CharField("URL", max_length=URL_LENGTH)
    event_types = ArrayField(models.CharField(max_length=60, choices=EventType.choices))
    secret = EncryptedTextField()
    secret_hint = models.CharField(max_length=16)
    old_secret = EncryptedTextField(blank=True, null=True)
    old_secret_until = models.DateTimeField(null=True, blank=True)
    updated_at = models.DateTimeField(help_text="of the last change of a field or secret")

    class Meta:
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("webhooks:detail", args=[self.team.slug, self.uid])

    @property
    def event_labels(self) -> list[str]:
        """The titles of its event types."""
        return [EventType(each).label for each in self.event_types]


class WebhookEvent(models.Model):
    """Something that happened to an object. ``object_id`` is the object's id in the API."""

    uid = PublicIdField("evt_")
    team = models.ForeignKey(Team, models.CASCADE, related_name="webhook_events")
    type = models.CharField(max_length=60, choices=EventType.choices)
    object_id = models.CharField(max_length=64)
    created_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.type} of {self.object_id}"


class DeliveryState(models.TextChoices):
    """The state of a delivery."""

    PENDING = "pending", "Pending"
    DELIVERED = "delivered", "Delivered"
    FAILED = "failed", "Failed"


class WebhookDelivery(models.Model):
    """Sends one event to one endpoint, in several attempts. A replay is another delivery of the event."""

    uid = PublicIdField("whdel_")
    endpoint = models.ForeignKey(WebhookEndpoint, models.CASCADE, related_name="deliveries")
    event = models.ForeignKey(WebhookEvent, models.CASCADE, related_name="deliveries")
    state = models.CharField(
        max_length=10, choices=DeliveryState.choices, default=DeliveryState.PENDING, editable=False
    )
    attempts = models.PositiveSmallIntegerField(default=0)
    status_code = models.PositiveSmallIntegerField(null=True, blank=True, help_text="of the last response")
    error = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField()
    next_try_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-id"]
        indexes: ClassVar = [
            models.Index("next_try_at", name="due_deliveries", condition=models.Q(next_try_at__isnull=False))
        ]

    def __str__(self) -> str:
        return f"{self.event} to {self.endpoint}"
