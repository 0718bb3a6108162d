"""Judges: endpoints of models that grade, the answers people labelled, and what the labels say of a judge."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.urls import reverse
from encrypted_fields.fields import EncryptedTextField

from webapp.core.fields import PublicIdField
from webapp.graders.models import Grader, GraderVersion
from webapp.registry.models import BaseModel
from webapp.teams.models import Team, User
from webapp.work.models import WorkItem

HINT_CHARACTERS = 4


class Endpoint(models.Model):
    """Where a judge model answers, with the limits of one job. Its key is encrypted and never shown."""

    uid = PublicIdField("endpoint_")
    team = models.ForeignKey(Team, models.CASCADE, related_name="endpoints")
    name = models.CharField(max_length=120, help_text="the model that graders name")
    base_url = models.URLField(max_length=500, blank=True)
    model = models.CharField(max_length=200, blank=True, help_text="the endpoint's own name of the model")
    api_key = EncryptedTextField(blank=True, null=True)
    key_hint = models.CharField(max_length=HINT_CHARACTERS, blank=True)
    base_model = models.ForeignKey(
        BaseModel, models.PROTECT, null=True, blank=True, help_text="served by our own workers, if set"
    )
    requests_per_minute = models.PositiveIntegerField(null=True, blank=True)
    tokens_per_minute = models.PositiveIntegerField(null=True, blank=True)
    concurrency = models.PositiveIntegerField(default=16)
    timeout_seconds = models.FloatField(default=60.0)
    input_price = models.FloatField(default=0.0)
    output_price = models.FloatField(default=0.0)
    budget = models.FloatField(null=True, blank=True)
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    deleted_at = models.DateTimeField(null=True, blank=True)

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
    """One small question to an endpoint: how long the answer took, or why there was none."""

    endpoint = models.OneToOneField(Endpoint, models.CASCADE, related_name="last_check")
    seconds = models.FloatField(null=True, blank=True)

    def __str__(self) -> str:
        return f"check of {self.endpoint}"


class LabelTask(models.Model):
    """Answers of one trial that people are to label; what they say holds for every version of the grader."""

    uid = PublicIdField("labels_")
    team = models.ForeignKey(Team, models.CASCADE, related_name="+")
    grader = models.ForeignKey(Grader, models.CASCADE, related_name="label_tasks")
    rows = models.JSONField(help_text="[{row_id, messages, item}]")
    answers = models.JSONField(help_text="[{row, text}], in the order of labelling")
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return f"labels for {self.grader}"

    def get_absolute_url(self) -> str:
        return reverse("judges:label", args=[self.team.slug, self.uid])


class HumanLabel(models.Model):
    """What a person thinks of an answer, from 1 (bad) to 5 (good), without the judge's word before them."""

    task = models.ForeignKey(LabelTask, models.CASCADE, related_name="labels")
    answer = models.PositiveIntegerField(help_text="place among the task's answers")
    value = models.PositiveSmallIntegerField()
    labelled_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering: ClassVar = ["answer"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["task", "answer"], name="one_label_an_answer"),
            models.CheckConstraint(condition=models.Q(value__gte=1, value__lte=5), name="labels_are_1_to_5"),
        ]

    def __str__(self) -> str:
        return f"{self.value} for answer {self.answer}"


class JudgeCard(WorkItem):
    """How far a judge agrees with people, measured on labelled answers; never changes once finished."""

    uid = PublicIdField("judgecard_")
    team = models.ForeignKey(Team, models.CASCADE, related_name="+")
    grader_version = models.ForeignKey(GraderVersion, models.CASCADE, related_name="judge_cards")
    labels = models.JSONField(help_text="[{text, item, group, value}], as they were when the card was made")
    results = models.JSONField(default=dict, help_text="the numbers, and the judge's word on each label")
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return f"judge card of {self.grader_version}"
