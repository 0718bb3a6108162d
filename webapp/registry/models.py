"""Models: the bases that can be tuned and the adapters that came out."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.urls import reverse

from webapp.config.fields import PublicIdField
from webapp.teams.models import Team


class BaseModel(models.Model):
    """A model that jobs start from: a Hugging Face id or a folder on the workers. No team: everyone's."""

    uid = PublicIdField("base_")
    team = models.ForeignKey(Team, models.CASCADE, null=True, blank=True, related_name="base_models")
    model_id = models.CharField(max_length=200, help_text="Hugging Face id; goes into the adapter's config")
    revision = models.CharField(max_length=80, blank=True)
    path = models.CharField(max_length=500, blank=True, help_text="local folder on the workers")
    description = models.CharField(max_length=300, blank=True)
    settings = models.JSONField(default=dict, help_text="recommended job settings for this model")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["id"]

    def __str__(self) -> str:
        return self.model_id


class TunedModel(models.Model):
    """An adapter package, complete and checked."""

    uid = PublicIdField("model_")
    team = models.ForeignKey(Team, models.CASCADE, related_name="tuned_models")
    base_model = models.ForeignKey(BaseModel, models.PROTECT, related_name="tuned_models")
    name = models.CharField(max_length=160, help_text="ft:BASE:TEAM:SUFFIX:RANDOM")
    prefix = models.CharField(max_length=255, help_text="folder in storage")
    files = models.JSONField(help_text="[{name, bytes, sha256}]")
    uploaded = models.BooleanField(default=False, help_text="brought along, not made by a job here")
    shape = models.JSONField(default=dict, help_text="{rank, alpha, targets} of an uploaded adapter")
    created_at = models.DateTimeField(auto_now_add=True)
    deleted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("registry:model", args=[self.team.slug, self.uid])
