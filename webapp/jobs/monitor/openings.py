"""Openings of sealed test splits before the end of jobs, which may flatter their results."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import prefetch_related_objects

from webapp.datasets.models import DatasetVersion
from webapp.datasets.versions.sealing import find_opened, share_test_rows
from webapp.jobs.models import Job, prefetch_loaded_tasks


@dataclass(frozen=True)
class Opening:
    """A version whose test split was opened before the end of these jobs."""

    version: DatasetVersion
    before_launch: bool
    jobs: list[Job]


def find_openings(jobs: Sequence[Job]) -> list[Opening]:
    """Return the openings of test rows of these jobs before their end, oldest first.

    The jobs belong to one team. The number of queries does not grow with the number of jobs.
    """
    opened = list(find_opened(jobs[0].team_id)) if jobs else []
    if not opened:
        return []
    prefetch_related_objects(jobs, prefetch_loaded_tasks(), "dataset_version")
    found: dict[tuple[DatasetVersion, bool], list[Job]] = defaultdict(list)
    for version in opened:
        for job in jobs:
            if _concerns(version, job):
                found[version, _opened_at(version) < job.created_at].append(job)
    return [Opening(version, before, concerned) for (version, before), concerned in found.items()]


def jobs_with_openings(jobs: Sequence[Job]) -> set[int]:
    """Return the primary keys of the jobs that an opening concerns."""
    return {job.pk for opening in find_openings(jobs) for job in opening.jobs}


def _concerns(opened: DatasetVersion, job: Job) -> bool:
    """True if the opening came before the job's end and shows some of its test rows."""
    if job.finished_at and job.finished_at <= _opened_at(opened):
        return False
    return any(share_test_rows(version, opened) for version in _versions(job))


def _opened_at(version: DatasetVersion) -> datetime:
    assert version.test_opened_at, f"{version} is sealed"
    return version.test_opened_at


def _versions(job: Job) -> list[DatasetVersion]:
    own = [job.dataset_version] if job.dataset_version else []
    return [task.dataset_version for task in job.loaded_tasks] or own
