"""Promotion of a checkpoint to a model, by a job that evaluates and packages it."""

from __future__ import annotations

from django.db import transaction

from webapp.jobs.errors import WrongState
from webapp.jobs.models import Checkpoint, Job, JobSuite, JobTask
from webapp.jobs.states import State
from webapp.teams.models import User
from webapp.teams.services import record_event
from webapp.work import messages

NAME_STEM = 100
COPIED = (
    "team", "base_model", "dataset_version", "grader_version", "environment_version", "held_out_grader",
    "initial_adapter", "method", "control_of", "sft", "settings", "total_steps",
)  # fmt: skip
DELETED = "This checkpoint was deleted meanwhile. Choose another one."


@transaction.atomic
def promote_checkpoint(checkpoint: Checkpoint, user: User) -> Job:
    """Launch the job that makes a model of the checkpoint, or return an earlier one.

    It shares the checkpoint's archive, so the source may delete its own row. Raises ``WrongState``.
    """
    locked = Checkpoint.objects.select_for_update().filter(pk=checkpoint.pk).first()
    if locked is None:
        raise WrongState(DELETED)
    source = checkpoint.job
    if source.promoted_step is not None:
        raise WrongState("This job itself promotes a checkpoint. Choose one of the job that trained.")
    if earlier := find_promotion(source, locked.step):
        return earlier
    job = Job.objects.create(
        **{name: getattr(source, name) for name in COPIED},
        name=f"{source.name[:NAME_STEM]}, step {locked.step}",
        created_by=user,
        step=locked.step,
        promoted_from=source,
        promoted_step=locked.step,
    )
    job.checkpoints.create(
        step=locked.step,
        attempt=0,
        key=locked.key,
        bytes=locked.bytes,
        sha256=locked.sha256,
        adapter_sha256=locked.adapter_sha256,
    )
    _copy_tasks_and_suites(source, job)
    record_event(source.team, user, "promoted checkpoint to a model", f"step {locked.step} of {source}")
    messages.notify_workers("validate_job", job.pk)
    return job


def find_promotion(job: Job, step: int) -> Job | None:
    """Return the job that makes, or has made, a model of the step."""
    ended = (State.FAILED, State.CANCELLED)
    return job.promotions.filter(promoted_step=step).exclude(state__in=ended).select_related("team").first()


def _copy_tasks_and_suites(source: Job, target: Job) -> None:
    tasks, suites = list(source.tasks.all()), list(source.suites.all())
    for task in tasks:
        task.pk, task.job = None, target
    for suite in suites:
        suite.pk, suite.job = None, target
    JobTask.objects.bulk_create(tasks)
    JobSuite.objects.bulk_create(suites)
