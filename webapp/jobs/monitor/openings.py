"""Openings of sealed test splits that a job's results have to be read with."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils import timezone

from webapp.datasets.models import DatasetVersion
from webapp.datasets.sealing import find_opened
from webapp.jobs.launch.job_tasks import choices_of
from webapp.jobs.models import Job


@dataclass(frozen=True)
class Opening:
    """A version whose test split was opened before the job's end."""

    version: DatasetVersion
    before_launch: bool


def find_openings(job: Job) -> list[Opening]:
    """Openings before the job's end, or until now, of test splits that share rows with the job's."""
    versions = [task.dataset_version for task in choices_of(job)]
    opened = find_opened(job.team, versions, job.finished_at or timezone.now())
    return [
        Opening(version, (version.test_opened_at or timezone.now()) < job.created_at) for version in opened
    ]
