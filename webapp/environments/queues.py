"""The queues of inspections, of datasets of tasks, and of plays."""

from __future__ import annotations

from django.db import transaction

from webapp.environments.models import EnvironmentInspection, EnvironmentVersion, Play, TaskDataset
from webapp.work.queue import Queue

INSPECTIONS = Queue(
    EnvironmentInspection,
    "environment_inspections",
    "inspect_environment",
    "Check it again. Often the worker runs out of memory.",
    related=("version__environment__team",),
)
TASK_DATASETS = Queue(
    TaskDataset,
    "task_datasets",
    "make_task_dataset",
    "Create it again, of fewer tasks. Often the worker runs out of memory.",
    related=("team", "created_by", "version__environment__team", "dataset"),
)
PLAYS = Queue(
    Play,
    "plays",
    "continue_play",
    "Start the task again. Often the worker runs out of memory.",
    related=("team", "version__environment__team"),
)


@transaction.atomic
def request_inspection(version: EnvironmentVersion) -> None:
    """Enqueue an inspection of the version, also a repeated one. Pages show the earlier one until it ends."""
    inspection, _ = EnvironmentInspection.objects.get_or_create(version=version)
    INSPECTIONS.enqueue(inspection)
