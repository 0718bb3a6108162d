"""Suites of a job and their scores."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from webapp.core.fields import pydantic_field
from webapp.datasets.models import DatasetVersion
from webapp.graders.models import GraderVersion
from webapp.jobs.models.job import Job
from workers.contract.events import Drift, Interval


class JobSuite(models.Model):
    """Rows that measure forgetting: validation rows with a grader, or a built-in suite."""

    job = models.ForeignKey(Job, models.CASCADE, related_name="suites")
    position = models.PositiveIntegerField()
    name = models.CharField(max_length=120)
    built_in = models.CharField(max_length=30, blank=True, help_text="key in workers.starter.suites")
    dataset_version = models.ForeignKey(
        DatasetVersion, models.PROTECT, null=True, blank=True, related_name="job_suites"
    )
    grader_version = models.ForeignKey(
        GraderVersion, models.PROTECT, null=True, blank=True, related_name="job_suites"
    )
    max_loss = models.FloatField(
        null=True, blank=True, help_text="largest allowed loss of reward; empty: measured only"
    )

    class Meta:
        ordering: ClassVar = ["position"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["job", "name"], name="one_suite_of_a_name_per_job"),
            models.CheckConstraint(
                name="a_suite_has_one_source",
                condition=models.Q(built_in="", dataset_version__isnull=False, grader_version__isnull=False)
                | (
                    ~models.Q(built_in="")
                    & models.Q(dataset_version__isnull=True, grader_version__isnull=True)
                ),
            ),
        ]

    def __str__(self) -> str:
        return self.name


class SuiteScore(models.Model):
    """A suite's scores at a step. An empty ``suite`` is the job's held-out rows: drift only."""

    job = models.ForeignKey(Job, models.CASCADE, related_name="suite_scores")
    suite = models.CharField(max_length=120, blank=True)
    stage = models.CharField(max_length=10, help_text="before, during or after")
    step = models.PositiveIntegerField()
    rows = models.PositiveIntegerField()
    samples_per_row = models.PositiveIntegerField()
    base: Interval | None = pydantic_field(Interval, null=True, help_text="mean reward")
    tuned: Interval | None = pydantic_field(Interval, null=True, help_text="mean reward")
    forgetting: Interval | None = pydantic_field(Interval, null=True, help_text="base minus tuned, paired")
    grading_errors = models.FloatField(
        default=0.0, help_text="share of ungraded completions, tuned's beyond the base's"
    )
    drift: Drift | None = pydantic_field(Drift, null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["job", "suite", "stage", "step"], name="one_score_of_a_suite_per_step"
            )
        ]

    def __str__(self) -> str:
        return f"{self.suite or 'own rows'} {self.stage} at step {self.step}"
