"""Records of a running job: metrics, completions, alarms, checkpoints."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex, OpClass
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Upper

from webapp.core.fields import PublicIdField, pydantic_field
from webapp.jobs.models.job import Job
from workers.contract.environments import EpisodeRecord


class Metric(models.Model):
    """All metrics of one step. There may be millions of rows, so ``values`` is not parsed."""

    job = models.ForeignKey(Job, models.CASCADE, related_name="metrics")
    step = models.PositiveIntegerField()
    values = models.JSONField(help_text="TRL's metric name -> number")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["step"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["job", "step"], name="one_metric_row_per_step")
        ]

    def __str__(self) -> str:
        return f"step {self.step}"


class GradedCompletion(models.Model):
    """One completion with its grading."""

    row_id = models.CharField(max_length=64)
    task = models.CharField(max_length=30, blank=True)
    prompt = models.TextField()
    completion = models.TextField()
    reasoning = models.TextField(blank=True, help_text="separated from the completion")
    reward = models.FloatField(null=True)
    sub_rewards = models.JSONField(default=dict)
    error_class = models.CharField(max_length=40, blank=True)
    error_detail = models.TextField(blank=True)
    explanation = models.TextField(blank=True, help_text="the judge's reasons")
    length = models.PositiveIntegerField()
    truncated = models.BooleanField()
    episode: EpisodeRecord | None = pydantic_field(
        EpisodeRecord, null=True, help_text="of several turns; lists do not load it"
    )

    class Meta:
        abstract = True


class Rollout(GradedCompletion):
    """One sampled completion of a training step (``contract.events.Rollout``)."""

    job = models.ForeignKey(Job, models.CASCADE, related_name="rollouts")
    step = models.PositiveIntegerField()
    index = models.PositiveIntegerField()
    group = models.PositiveIntegerField()
    advantage = models.FloatField(null=True)
    adapter_step = models.PositiveIntegerField()
    held_out_reward = models.FloatField(null=True, help_text="by the held-out grader")
    ended = models.CharField(
        max_length=20, blank=True, help_text="why the episode ended; empty: a single turn"
    )
    turns = models.PositiveIntegerField(default=0, help_text="of the episode")
    tools = ArrayField(models.TextField(), default=list, help_text="names of the tools that it called")

    class Meta:
        ordering: ClassVar = ["step", "index"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["job", "step", "index"], name="one_rollout_per_place")
        ]
        # Indexes find what is rare among millions; what is common is found by a walk back through the steps.
        # The index by reward has the length, too, so that a walk by reward can filter without reading rows.
        indexes: ClassVar = [
            models.Index("job", F("step").desc(), "index", name="rollouts_newest_first"),
            models.Index("job", "row_id", "step", name="rollouts_of_a_row"),
            models.Index("job", "reward", "step", "index", "length", name="rollouts_by_reward"),
            models.Index("job", "length", name="rollouts_by_length"),
            models.Index("job", "error_class", condition=~Q(error_class=""), name="rollouts_with_errors"),
            models.Index(
                "job", "reward", "step", "index", condition=Q(truncated=True), name="rollouts_cut_off"
            ),
            models.Index("job", condition=Q(reward=None), name="rollouts_ungraded"),
            models.Index("job", "ended", "step", "index", condition=~Q(ended=""), name="rollouts_by_end"),
            models.Index(
                "job", F("step").desc(), "index", condition=~Q(ended=""), name="rollouts_of_episodes"
            ),
            GinIndex(fields=["tools"], condition=~Q(ended=""), name="rollouts_by_tool"),
            GinIndex(OpClass(Upper("completion"), name="gin_trgm_ops"), name="rollouts_by_text"),
        ]

    def __str__(self) -> str:
        return f"step {self.step} rollout {self.index}"


class PreflightSample(GradedCompletion):
    """A completion on the preflight page (``contract.events.PreflightSample``)."""

    job = models.ForeignKey(Job, models.CASCADE, related_name="preflight_samples")
    position = models.PositiveIntegerField()

    class Meta:
        ordering: ClassVar = ["position"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["job", "position"], name="one_preflight_sample_per_position")
        ]

    def __str__(self) -> str:
        return f"sample {self.position}"


class Alarm(models.Model):
    """A health rule that began to fire (``contract.events.AlarmEvent``)."""

    job = models.ForeignKey(Job, models.CASCADE, related_name="alarms")
    step = models.PositiveIntegerField()
    code = models.CharField(max_length=40)
    message = models.TextField()
    threshold = models.TextField()
    evidence = models.JSONField(default=dict, help_text="name in words -> number")
    remedy = models.TextField()
    rollouts = models.JSONField(default=list, help_text="indices of the step's example rollouts")
    paused = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["-step", "id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["job", "step", "code"], name="one_alarm_of_a_rule_per_step")
        ]

    def __str__(self) -> str:
        return f"{self.code} at step {self.step}"


class Checkpoint(models.Model):
    """An archive in storage with everything that resuming after ``step`` needs."""

    uid = PublicIdField("ftckpt_")
    job = models.ForeignKey(Job, models.CASCADE, related_name="checkpoints")
    step = models.PositiveIntegerField()
    attempt = models.PositiveIntegerField()
    key = models.CharField(max_length=255)
    bytes = models.BigIntegerField()
    sha256 = models.CharField(max_length=64)
    adapter_sha256 = models.CharField(max_length=64, blank=True, help_text="of the adapter's weights")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["-step"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["job", "step"], name="one_checkpoint_per_step")
        ]

    def __str__(self) -> str:
        return f"step {self.step}"

    @property
    def model_name(self) -> str:
        """The name under which callers use it as a model."""
        tuned = self.job.tuned_model
        return f"{tuned.name if tuned else self.job.model_name}:ckpt-step-{self.step}"
