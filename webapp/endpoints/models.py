"""Endpoints of judge models, and the last check of each."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from encrypted_fields.fields import EncryptedTextField

from webapp.core.fields import PublicIdField
from webapp.core.models import Authored, SoftDeleted
from webapp.registry.models import BaseModel
from webapp.teams.models import Team
from webapp.work.models import WorkItem

HINT_CHARACTERS = 4


class Endpoint(Authored, SoftDeleted):
    """A judge model's API, with the limits of one job. Its key is encrypted and never shown."""

    uid = PublicIdField("endpoint_")
    team = models.ForeignKey(Team, models.CASCADE, related_name="endpoints")
    name = models.CharField(max_length=120, help_text="the judge's name in graders")
    base_url = models.URLField(max_length=500, blank=True)
    model = models.CharField(max_length=200, blank=True, help_text="the model's name at the endpoint")
    api_key = EncryptedTextField(blank=True, null=True)
    key_hint = models.CharField(max_length=HINT_CHARACTERS, blank=True)
    base_model = models.ForeignKey(
        BaseModel, models.PROTECT, null=True, blank=True, help_text="served by workers, if set"
    )
    requests_per_minute = models.PositiveIntegerField(null=True, blank=True)
    tokens_per_minute = models.PositiveIntegerField(null=True, blank=True)
    concurrency = models.PositiveIntegerField(default=16)
    timeout_seconds = models.FloatField(default=60.0)
    input_price = models.FloatField(default=0.0)
    output_price = models.FloatField(default=0.0)
    budget = models.FloatField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["team", "name"],
                condition=models.Q(deleted_at=None),
                name="endpoint_names_are_unique",
                violation_error_message="Another endpoint of this team has this name.",
            )
        ]

    def __str__(self) -> str:
        return self.name


class EndpointCheck(WorkItem):
    """A check of an endpoint by one small question: the time of its answer, or why there was none."""

    endpoint = models.OneToOneField(Endpoint, models.CASCADE, related_name="last_check")
    seconds = models.FloatField(null=True, blank=True)

    def __str__(self) -> str:
        return f"check of {self.endpoint}"
