"""Graders: immutable versions of what a team rewards, and their trials on rows."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.urls import reverse

from webapp.config.fields import PublicIdField
from webapp.registry.models import BaseModel
from webapp.teams.models import Team, User


class Grader(models.Model):
    """A named series of versions."""

    uid = PublicIdField("grader_")
    team = models.ForeignKey(Team, models.CASCADE, related_name="graders")
    name = models.CharField(max_length=120)
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    deleted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("graders:detail", args=[self.team.slug, self.uid])


class GraderVersion(models.Model):
    """One grader definition in OpenAI's JSON shape; never changes."""

    uid = PublicIdField("graderv_")
    grader = models.ForeignKey(Grader, models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField()
    definition = models.JSONField()
    sha256 = models.CharField(max_length=64)
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["-number"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["grader", "number"], name="grader_version_numbers_are_unique")
        ]

    def __str__(self) -> str:
        return f"{self.grader.name} v{self.number}"


class GraderTrial(models.Model):
    """A grader tried on a few rows, by a worker, in the sandbox. Also the unsaved text of an editor."""

    class State(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        FINISHED = "finished"
        FAILED = "failed"

    uid = PublicIdField("trial_")
    team = models.ForeignKey(Team, models.CASCADE, related_name="grader_trials")
    definition = models.JSONField()
    base_model = models.ForeignKey(
        BaseModel, models.SET_NULL, null=True, blank=True, help_text="writes the answers, if set"
    )
    rows = models.JSONField(help_text="[{row_id, messages, item, answer?}]")
    state = models.CharField(max_length=10, choices=State.choices, default=State.QUEUED)
    results = models.JSONField(default=list, help_text="one grading a row, with the answer it graded")
    error = models.JSONField(null=True, blank=True, help_text="{message, remedy}")
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"trial {self.uid}"
