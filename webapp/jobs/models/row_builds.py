"""The work of making a job's rows of the files that its API request names."""

from __future__ import annotations

from django.db import models

from webapp.jobs.models.job import Job
from webapp.work.models import WorkItem


class RowBuild(WorkItem):
    """Makes a dataset version of a job's large files, before the job can be queued."""

    job = models.OneToOneField(Job, models.CASCADE, related_name="row_build")

    def __str__(self) -> str:
        return f"rows of {self.job}"
