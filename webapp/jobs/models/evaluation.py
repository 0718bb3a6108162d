"""Evaluations of a job: the base and the tuned model on held-out rows."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from pydantic import BaseModel

from webapp.core.episodes.records import EpisodePairs
from webapp.core.fields import pydantic_field
from webapp.graders.fields import WrittenJSONField
from webapp.jobs.models.job import Job
from workers.contract.environments import EpisodeRecord
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
    episodes: EpisodePairs | None = pydantic_field(EpisodePairs, null=True, help_text="counted")
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


class RowEpisodes(BaseModel):
    """The episodes of both models for one row, in the order of its completions; None for a single turn."""

    base: list[EpisodeRecord | None]
    tuned: list[EpisodeRecord | None]

    @property
    def first(self) -> tuple[EpisodeRecord, EpisodeRecord] | None:
        """The first episode of each model, which are compared; None unless there are both."""
        base, tuned = next(iter(self.base), None), next(iter(self.tuned), None)
        return (base, tuned) if base and tuned else None


class ComparedRow(models.Model):
    """The completions of both models for one held-out row."""

    evaluation = models.ForeignKey(Evaluation, models.CASCADE, related_name="compared_rows")
    index = models.PositiveIntegerField()
    row_id = models.CharField(max_length=64)
    prompt = models.TextField(help_text="as rendered for the model")
    row = WrittenJSONField(default=dict, help_text="{messages, tools, item} of the dataset's row")
    base = models.JSONField(help_text="[contract.events.EvaluationSample], episodes only counted")
    tuned = models.JSONField(help_text="as base")
    base_reward = models.FloatField(null=True)
    tuned_reward = models.FloatField(null=True)
    change = models.FloatField(null=True, help_text="tuned minus base")
    base_right = models.PositiveIntegerField(
        null=True, help_text="passing completions; null: none was graded"
    )
    tuned_right = models.PositiveIntegerField(null=True)
    episodes: RowEpisodes | None = pydantic_field(RowEpisodes, null=True, help_text="lists do not load it")
    parting_turn = models.PositiveIntegerField(
        null=True, help_text="in which the first episodes of both models part"
    )

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
