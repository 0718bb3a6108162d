"""Evals, their runs, and the graded rows of runs, as OpenAI's API names them."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import models
from django.urls import reverse
from pydantic import BaseModel, Field

from webapp.core.fields import PublicIdField, pydantic_field
from webapp.core.models import Authored
from webapp.graders.fields import WrittenJSONField
from webapp.interactions.models import Interaction
from webapp.keys.models import ApiKey
from webapp.teams.models import Team
from webapp.work.models import WorkItem, WorkState

NAME_LENGTH = 200


class CriterionCounts(BaseModel):
    """The graded rows of one criterion."""

    passed: int = 0
    failed: int = 0


class ModelUsage(BaseModel):
    """Requests to one model, and their tokens."""

    invocation_count: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    total_tokens: int = 0


class RunReport(BaseModel):
    """The rows that are done, counted; ``criteria`` by a criterion's name, ``usage`` by model."""

    passed: int = 0
    failed: int = 0
    errored: int = 0
    criteria: dict[str, CriterionCounts] = Field(default_factory=dict)
    usage: dict[str, ModelUsage] = Field(default_factory=dict)

    @property
    def total(self) -> int:
        """The number of rows that are done."""
        return self.passed + self.failed + self.errored


class Eval(Authored):
    """The form of rows, and the criteria that grade them."""

    class Source(models.TextChoices):
        CUSTOM = "custom"
        LOGS = "logs"
        STORED = "stored_completions"  # the older name of logs

    uid = PublicIdField("eval_")
    team = models.ForeignKey(Team, models.CASCADE, related_name="evals")
    name = models.CharField(max_length=NAME_LENGTH, blank=True)
    source = models.CharField(max_length=20, choices=Source.choices, default=Source.CUSTOM)
    filters: models.JSONField[dict[str, str], dict[str, str]] = models.JSONField(
        default=dict, help_text="metadata that stored completions must have"
    )
    item_schema = WrittenJSONField(help_text="JSON schema of a row's item")
    include_sample_schema = models.BooleanField(default=False)
    criteria = WrittenJSONField(help_text="[grader definition with its pass_threshold]")
    metadata: models.JSONField[dict[str, str], dict[str, str]] = models.JSONField(default=dict)

    class Meta:
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return self.name or str(self.uid)


class EvalRun(Authored, WorkItem):
    """A run of an eval on rows: a model or the rows give the samples, and a worker grades them."""

    uid = PublicIdField("evalrun_")
    team = models.ForeignKey(Team, models.CASCADE, related_name="eval_runs")
    eval = models.ForeignKey(Eval, models.CASCADE, related_name="runs")
    key = models.ForeignKey(ApiKey, models.SET_NULL, null=True, help_text="whose use of models is counted")
    name = models.CharField(max_length=NAME_LENGTH, blank=True)
    model = models.CharField(max_length=300, blank=True, help_text="gives the samples; empty: the rows do")
    data_source = WrittenJSONField(help_text="as the caller sent it, without the rows")
    rows = WrittenJSONField(help_text="[{item, sample?}]")
    metadata: models.JSONField[dict[str, str], dict[str, str]] = models.JSONField(default=dict)
    canceled_at = models.DateTimeField(null=True, blank=True)
    report: RunReport = pydantic_field(RunReport, default=RunReport)

    class Meta:
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return self.name or str(self.uid)

    def get_absolute_url(self) -> str:
        return reverse("evals:run", args=[self.team.slug, self.uid])

    @property
    def status(self) -> str:
        """The state by OpenAI's name."""
        return "canceled" if self.canceled_at else STATUS[WorkState(self.state)]


STATUS = {
    WorkState.QUEUED: "queued",
    WorkState.RUNNING: "in_progress",
    WorkState.FINISHED: "completed",
    WorkState.FAILED: "failed",
}


class ItemStatus(models.TextChoices):
    """The outcome of a row. ``error``: a sample or a grade is missing."""

    PASS = "pass", "Passed"
    FAIL = "fail", "Failed"
    ERROR = "error", "Not graded"


class OutputItem(models.Model):
    """A row of a run with its sample and its grades."""

    uid = PublicIdField("outputitem_")
    run = models.ForeignKey(EvalRun, models.CASCADE, related_name="items")
    number = models.PositiveIntegerField(help_text="of the row, from 1")
    interaction = models.ForeignKey(
        Interaction,
        models.CASCADE,
        null=True,
        to_field="uid",
        related_name="+",
        help_text="a stored completion",
    )
    item: Any = WrittenJSONField()
    sample: Any = WrittenJSONField(help_text="webapp.evals.samples.Sample")
    results: Any = WrittenJSONField(help_text="[webapp.evals.results.Result], one a criterion")
    status = models.CharField(max_length=5, choices=ItemStatus.choices)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["run", "number"], name="one_output_item_a_row"),
        ]

    def __str__(self) -> str:
        return f"row {self.number} of {self.run}"
