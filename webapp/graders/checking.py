"""The life of a check: asked for at each new version, taken by one worker, recorded once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import Exists, F, OuterRef, QuerySet
from django.utils import timezone

from webapp.core.fields import storable
from webapp.datasets.models import DatasetVersion
from webapp.graders.choosing import dataset_version
from webapp.graders.models import GraderCheck, GraderVersion
from webapp.jobs import bell

Json = dict[str, Any]
State = GraderCheck.State
PATIENCE = timedelta(minutes=15)  # longer than a check can take


@transaction.atomic
def request_check(version: GraderVersion) -> None:
    """Have a worker check the version, again if it was; what was seen before shows until then."""
    check, new = GraderCheck.objects.get_or_create(version=version)
    if not new:
        _queue(check)
    bell.ring("run_check", check.pk)


def _queue(check: GraderCheck) -> None:
    GraderCheck.objects.filter(pk=check.pk).update(
        state=State.QUEUED, attempt=F("attempt") + 1, queued_at=timezone.now()
    )


def take(check_id: int) -> GraderCheck | None:
    """The queued check, now running; None if another worker was first."""
    queued = GraderCheck.objects.filter(pk=check_id, state=State.QUEUED)
    if not queued.update(state=State.RUNNING, started_at=timezone.now()):
        return None
    return GraderCheck.objects.select_related(
        "version__grader__team", "version__grader__dataset"
    ).get(pk=check_id)  # fmt: skip


def finish(
    check: GraderCheck, results: Json, version: DatasetVersion | None, *, waiting: bool = False
) -> None:
    """Keep what was seen, unless the check was asked for again meanwhile."""
    state = State.WAITING_FOR_ROWS if waiting else State.FINISHED
    _end(check, state=state, results=results, dataset_version=version, error=None)


def fail(check: GraderCheck, message: str, remedy: str) -> None:
    """Nothing could be graded; what was seen before no longer counts."""
    _end(check, state=State.FAILED, results={}, error={"message": storable(message), "remedy": remedy})


def _end(check: GraderCheck, **values: Any) -> None:
    held = GraderCheck.objects.filter(pk=check.pk, attempt=check.attempt, state=State.RUNNING)
    held.update(finished_at=timezone.now(), **values)


def ring_again() -> None:
    """For beat: silent checks and those that rows have come for queue again; ring for all that wait."""
    stale = GraderCheck.objects.filter(state=State.RUNNING, started_at__lt=timezone.now() - PATIENCE)
    fed = [check for check in _waiting() if dataset_version(check.version.grader, check.version.definition)]
    for check in [*stale, *fed]:
        _queue(check)
    for check_id in GraderCheck.objects.filter(state=State.QUEUED).values_list("pk", flat=True):
        bell.ring("run_check", check_id)


def _waiting() -> QuerySet[GraderCheck]:
    """Checks without rows whose team has got new rows since."""
    newer = DatasetVersion.objects.filter(
        dataset__team=OuterRef("version__grader__team"), created_at__gt=OuterRef("finished_at")
    )
    return GraderCheck.objects.filter(
        Exists(newer), state=State.WAITING_FOR_ROWS, version__grader__deleted_at=None
    ).select_related("version__grader__team", "version__grader__dataset")
