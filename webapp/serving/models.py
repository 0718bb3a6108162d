"""Model servers on nodes, the adapters that they hold, and the use of models by day."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils import timezone
from encrypted_fields.fields import EncryptedTextField

from webapp.core.fields import PublicIdField
from webapp.jobs.models import Checkpoint
from webapp.keys.models import ApiKey
from webapp.registry.models import BaseModel, TunedModel
from webapp.teams.models import Team
from webapp.work.models import Node, WorkItem


class ModelServer(WorkItem):
    """A process on a node that serves a base model. An attempt lasts as long as its process.

    It is running and without a URL while the model loads; finished once it was stopped.
    """

    uid = PublicIdField("server_")
    base_model = models.OneToOneField(BaseModel, models.CASCADE, related_name="server")
    node = models.ForeignKey(Node, models.SET_NULL, null=True, blank=True, related_name="model_servers")
    url = models.URLField(max_length=200, blank=True, help_text="ends in /v1; empty while the model loads")
    token = EncryptedTextField(blank=True, null=True, help_text="what callers of the process present")
    shortage = models.CharField(max_length=300, blank=True, help_text="what the last node lacked for it")
    warm = models.BooleanField(default=False, help_text="never stopped for being idle")
    last_used_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering: ClassVar = ["id"]

    def __str__(self) -> str:
        return f"Server of {self.base_model}"

    @property
    def ready(self) -> bool:
        """True while the process answers requests."""
        return self.state == self.State.RUNNING and bool(self.url)


class ServedAdapter(models.Model):
    """An adapter that a server was asked for. It is loaded if ``loaded_attempt`` is the server's attempt."""

    server = models.ForeignKey(ModelServer, models.CASCADE, related_name="adapters")
    sha256 = models.CharField(max_length=64, help_text="of the weights; its name at the server")
    tuned_model = models.ForeignKey(TunedModel, models.CASCADE, null=True, blank=True, related_name="+")
    checkpoint = models.ForeignKey(Checkpoint, models.CASCADE, null=True, blank=True, related_name="+")
    loaded_attempt = models.PositiveIntegerField(default=0)
    error = models.CharField(max_length=500, blank=True)
    changed_at = models.DateTimeField(default=timezone.now, help_text="when it was loaded, or failed to")
    last_used_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["server", "sha256"], name="one_row_per_served_adapter")
        ]

    def __str__(self) -> str:
        return f"{self.tuned_model or self.checkpoint} at {self.server}"


class Usage(models.Model):
    """What a key used of a model on a day (UTC). Only ``webapp.serving.usage`` writes it."""

    team = models.ForeignKey(Team, models.CASCADE, related_name="usage")
    key = models.ForeignKey(ApiKey, models.SET_NULL, null=True, related_name="usage")
    model = models.CharField(max_length=300, help_text="the name that callers asked for")
    day = models.DateField()
    requests = models.PositiveBigIntegerField(default=0)
    errors = models.PositiveBigIntegerField(default=0, help_text="of these, without a complete answer")
    prompt_tokens = models.PositiveBigIntegerField(default=0)
    completion_tokens = models.PositiveBigIntegerField(default=0)
    milliseconds = models.PositiveBigIntegerField(default=0, help_text="of all requests together")
    slowest_milliseconds = models.PositiveBigIntegerField(default=0)

    class Meta:
        ordering: ClassVar = ["-day", "model"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["team", "key", "model", "day"], nulls_distinct=False, name="one_usage_row_per_day"
            )
        ]

    def __str__(self) -> str:
        return f"{self.model}, {self.day}"
