"""Openings of sealed test splits that the results of jobs have to be read with."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import prefetch_related_objects
from django.utils import timezone

from webapp.datasets.models import DatasetVersion
from webapp.datasets.sealing import find_opened, share_test_rows

from .models import Job, prefetch_loaded_tasks


@dataclass(frozen=True)
class Opening:
    """A version whose test split was opened before the end of these jobs."""

    version: DatasetVersion
    before_launch: bool
    jobs: list[Job]


def find_openings(jobs: Sequence[Job]) -> list[Opening]:
    """Openings of test splits that share rows with a job's own, before that job's end or until now.

    The jobs belong to one team. Oldest opening first; the number of queries does not grow with the jobs.
    """
    prefetch_related_objects(jobs, prefetch_loaded_tasks(), "dataset_version")
    tested = {job: _versions(job) for job in jobs}
    found: dict[tuple[DatasetVersion, bool], list[Job]] = defaultdict(list)
    everything = {version for versions in tested.values() for version in versions}
    for opened in find_opened(jobs[0].team, everything, timezone.now()) if jobs else ():
        assert opened.test_opened_at, f"{opened} is sealed"
        for job, versions in tested.items():
            ended_before = job.finished_at is not None and job.finished_at <= opened.test_opened_at
            if not ended_before and any(share_test_rows(version, opened) for version in versions):
                found[opened, opened.test_opened_at < job.created_at].append(job)
    return [Opening(version, before, those) for (version, before), those in found.items()]


def _versions(job: Job) -> list[DatasetVersion]:
    return [task.dataset_version for task in job.loaded_tasks] or [job.dataset_version]
