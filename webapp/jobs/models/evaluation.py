"""Evaluations of a job: base against tuned on held-out rows."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import models

from webapp.graders.fields import WrittenJSONField
from webapp.jobs.models.job import Job

SAME = 1e-9  # as workers.engine.evaluation.statistics counts ties


class Evaluation(models.Model):
    """One comparison (``contract.events.EvaluationEvent`` without its details)."""

    job = models.ForeignKey(Job, models.CASCADE, related_name="evaluations")
    stage = models.CharField(max_length=10, help_text="before, during or after")
    split = models.CharField(max_length=10)
    task = models.CharField(max_length=30, blank=True, help_text="of several; empty is all rows together")
    step = models.PositiveIntegerField()
    rows = models.PositiveIntegerField()
    samples_per_row = models.PositiveIntegerField()
    base = models.JSONField(help_text="contract.events.SideSummary")
    tuned = models.JSONField(null=True)
    difference = models.JSONField(null=True, help_text="contract.events.Interval, tuned minus base, paired")
    wins = models.PositiveIntegerField(null=True)
    ties = models.PositiveIntegerField(null=True)
    losses = models.PositiveIntegerField(null=True)
    comparison = models.JSONField(null=True, help_text="contract.events.Comparison")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["job", "stage", "split", "step", "task"], name="one_evaluation_per_step"
            )
        ]

    def __str__(self) -> str:
        return f"{self.stage} {self.split} at step {self.step}"

    @property
    def title(self) -> str:
        """When and on which rows it was made, in words."""
        return f"{'After training' if self.stage == 'after' else f'Step {self.step}'}, {self.split} rows"


class ComparedRow(models.Model):
    """The answers of both models to one held-out row."""

    evaluation = models.ForeignKey(Evaluation, models.CASCADE, related_name="compared_rows")
    index = models.PositiveIntegerField()
    row_id = models.CharField(max_length=64)
    prompt = models.TextField(help_text="as rendered for the model")
    row = WrittenJSONField(default=dict, help_text="{messages, tools, item} of the dataset's row")
    base = models.JSONField(help_text="[contract.events.EvaluationSample]")
    tuned = models.JSONField(help_text="[contract.events.EvaluationSample]")
    base_reward = models.FloatField(null=True)
    tuned_reward = models.FloatField(null=True)
    change = models.FloatField(null=True, help_text="tuned minus base")
    base_right = models.PositiveIntegerField(null=True, help_text="answers that pass; null: none was graded")
    tuned_right = models.PositiveIntegerField(null=True)

    class Meta:
        ordering: ClassVar = ["index"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["evaluation", "index"], name="one_compared_row_per_place")
        ]

    def __str__(self) -> str:
        return self.row_id

    @property
    def conversation(self) -> list[dict[str, Any]] | str:
        """Its messages; the rendered prompt where they were not recorded."""
        return self.row.get("messages") or self.prompt

    @property
    def outcome(self) -> str:
        """``win``, ``tie`` or ``loss`` of the tuned model; empty where an side has no grade."""
        if self.change is None:
            return ""
        return "tie" if abs(self.change) <= SAME else "win" if self.change > 0 else "loss"
