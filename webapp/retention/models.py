"""Releases of models that the retention gate held back."""

from __future__ import annotations

from django.db import models

from webapp.registry.models import TunedModel
from webapp.teams.models import User


class Release(models.Model):
    """An owner's decision that a model is ready although the gate held it back."""

    model = models.OneToOneField(TunedModel, models.CASCADE, related_name="release")
    released_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    reason = models.TextField()
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"release of {self.model}"
