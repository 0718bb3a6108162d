"""The queues of grader trials and of grader checks."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet

from webapp.datasets.models import DatasetVersion
from webapp.graders.models import GraderCheck, GraderTrial, GraderVersion
from webapp.graders.trials.row_selection import find_dataset_version
from webapp.work.errors import WorkFailed
from webapp.work.models import WorkState
from webapp.work.queue import Queue

TRIALS = Queue(
    GraderTrial,
    "trials",
    "run_trial",
    "Try fewer rows, or a smaller base model. Often the worker runs out of memory.",
    related=("team", "base_model", "second"),
)


class CheckQueue(Queue[GraderCheck]):
    """A queue whose failed checks lose the results of earlier runs: they no longer count."""

    def fail(self, item: GraderCheck, error: WorkFailed, **values: Any) -> bool:
        return super().fail(item, error, results={}, **values)


CHECKS = CheckQueue(
    GraderCheck,
    "checks",
    "run_check",
    "Check again. Often the worker runs out of memory.",
    related=("version__grader__team", "version__grader__dataset"),
)


@transaction.atomic
def request_check(version: GraderVersion) -> None:
    """Enqueue a check of the version, also a repeated one. Pages show the earlier results until it ends."""
    check, _ = GraderCheck.objects.get_or_create(version=version)
    CHECKS.enqueue(check)


def enqueue_checks_with_new_rows() -> None:
    """Enqueue the checks that wait for rows and whose team has new rows."""
    newer = DatasetVersion.objects.filter(
        dataset__team=OuterRef("version__grader__team"), created_at__gt=OuterRef("finished_at")
    )
    waiting: QuerySet[GraderCheck] = GraderCheck.objects.filter(
        Exists(newer), state=WorkState.WAITING_FOR_ROWS, version__grader__deleted_at=None
    ).select_related("version__grader__team", "version__grader__dataset")
    for check in waiting:
        if find_dataset_version(check.version.grader, check.version.definition):
            CHECKS.enqueue(check)
