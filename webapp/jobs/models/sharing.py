"""Permissions: models that a team lets another team ask."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q

from webapp.core.fields import PublicIdField
from webapp.jobs.models.training import Checkpoint
from webapp.registry.models import TunedModel
from webapp.teams.models import Team


class CheckpointPermission(models.Model):
    """``team`` may ask a checkpoint or a tuned model of another team, and nothing more."""

    uid = PublicIdField("cp_")
    team = models.ForeignKey(Team, models.CASCADE, related_name="checkpoint_permissions")
    checkpoint = models.ForeignKey(Checkpoint, models.CASCADE, null=True, related_name="permissions")
    tuned_model = models.ForeignKey(TunedModel, models.CASCADE, null=True, related_name="permissions")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["team", "checkpoint", "tuned_model"],
                nulls_distinct=False,
                name="one_permission_per_team_and_model",
            ),
            models.CheckConstraint(
                condition=Q(checkpoint=None) ^ Q(tuned_model=None), name="a_permission_is_for_one_model"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.checkpoint or self.tuned_model} for {self.team}"
