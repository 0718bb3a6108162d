"""Evaluations of a job: the base and the tuned model on held-out rows."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from webapp.core.fields import pydantic_field
from webapp.graders.fields import WrittenJSONField
from webapp.jobs.models.job import Job
from workers.contract.events import Comparison, Interval, SideSummary
from workers.contract.json_types import JsonValue

SAME = 1e-9  # as workers.engine.evaluation.statistics counts ties


class Evaluation(models.Model):
    """One evaluation (``contract.events.EvaluationEvent``); its rows are ``ComparedRow``."""

    job = models.ForeignKey(Job, models.CASCADE, related_name="evaluations")
    stage = models.CharField(max_length=10, help_text="before, during or after")
    split = models.CharField(max_length=10)
    task = models.CharField(max_length=30, blank=True, help_text="of several; empty is all rows together")
    step = models.PositiveIntegerField()
    rows = models.PositiveIntegerField()
    samples_per_row = models.PositiveIntegerField()
    base: SideSummary = pydantic_field(SideSummary)
    tuned: SideSummary | None = pydantic_field(SideSummary, null=True)
    difference: Interval | None = pydantic_field(Interval, null=True, help_text="tuned minus base, paired")
    wins = models.PositiveIntegerField(null=True)
    ties = models.PositiveIntegerField(null=True)
    losses = models.PositiveIntegerField(null=True)
    comparison: Comparison | None = pydantic_field(Comparison, null=True)
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
        """Time of training and rows, for pages."""
        return f"{'After training' if self.stage == 'after' else f'Step {self.step}'}, {self.split} rows"


class ComparedRow(models.Model):
    """The completions of both models for one held-out row."""

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
    base_right = models.PositiveIntegerField(
        null=True, help_text="passing completions; null: none was graded"
    )
    tuned_right = models.PositiveIntegerField(null=True)

    class Meta:
        ordering: ClassVar = ["index"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["evaluation", "index"], name="one_compared_row_per_place")
        ]

    def __str__(self) -> str:
        return self.row_id

    @property
    def conversation(self) -> list[JsonValue] | str:
        """The row's messages; the rendered prompt if they were not recorded."""
        return self.row.get("messages") or self.prompt

    @property
    def outcome(self) -> str:
        """``win``, ``tie`` or ``loss`` of the tuned model; empty if a side has no grade."""
        if self.change is None:
            return ""
        return "tie" if abs(self.change) <= SAME else "win" if self.change > 0 else "loss"
