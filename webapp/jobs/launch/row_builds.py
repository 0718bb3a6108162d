"""Make the rows of a job of its files, by the work queue: large files take longer than a request may."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from django.db import transaction
from django.db.models import Q

from webapp.core.api.errors import ApiError
from webapp.datasets.files.models import ApiFile
from webapp.datasets.files.services import build_version
from webapp.datasets.models import DatasetVersion
from webapp.graders.definitions import required_fields
from webapp.jobs.launch.steps import count_steps
from webapp.jobs.models import Job, RowBuild
from webapp.jobs.states import State
from webapp.jobs.transitions import change_state
from webapp.work import messages
from webapp.work.errors import WorkFailed
from webapp.work.queue import Queue

VALIDATING = Q(state=State.VALIDATING_FILES)
CORRECT = "Correct the file, upload it, and create the job again."
CODES = {"validation_file": "invalid_validation_file"}  # by the parameter at fault


class RowBuildQueue(Queue[RowBuild]):
    """A queue whose failures fail the job."""

    @transaction.atomic
    def fail(self, item: RowBuild, error: WorkFailed, **values: Any) -> bool:
        failed = super().fail(item, error, **values)
        if failed:
            change_state(item.job_id, State.FAILED, guard=VALIDATING, error=error.error)
        return failed


ROW_BUILDS = RowBuildQueue(
    RowBuild,
    "row_builds",
    "build_rows",
    "Use a worker with more memory, or smaller files.",
    related=("job__team", "job__created_by", "job__grader_version__grader"),
)


def enqueue_build(job: Job) -> None:
    """Let a worker make the job's rows."""
    ROW_BUILDS.notify(RowBuild.objects.create(job=job).pk)


def build_rows(build: RowBuild) -> None:
    """Make the rows, and have the job validated. Raises WorkFailed with the first wrong line."""
    job = build.job
    training, validation = (_find_file(job, name) for name in ("training_file", "validation_file"))
    assert training, "a job without rows names its training file"
    name = PurePath(training.filename).stem
    try:
        version = build_version(job.team, job.created_by, training, validation, name)
    except ApiError as error:
        code = CODES.get(error.param or "", "invalid_training_file")
        raise WorkFailed(str(error), CORRECT, code=code) from error
    if reason := required_fields.find_refusal(job.grader_version, version):
        raise WorkFailed(reason, "Change the grader or the rows.", code="invalid_grader")
    _finish(build, version)


def _find_file(job: Job, name: str) -> ApiFile | None:
    """Return the file, also if it was deleted after the job was created: its bytes stay for an hour."""
    files = ApiFile.objects.select_related("version__dataset__team").filter(team=job.team)
    return files.filter(uid=job.asked[name]).first()


@transaction.atomic
def _finish(build: RowBuild, version: DatasetVersion) -> None:
    if not ROW_BUILDS.finish(build):
        return
    steps = count_steps(build.job.settings.grpo, version)
    if Job.objects.filter(VALIDATING, pk=build.job_id).update(dataset_version=version, total_steps=steps):
        messages.notify_workers("validate_job", build.job_id)
