"""Promoting a checkpoint to a model: a job that trains nothing, but evaluates, checks and packages it."""

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
    "team", "base_model", "dataset_version", "grader_version", "held_out_grader", "initial_adapter", "method",
    "control_of", "sft", "settings", "total_steps",
)  # fmt: skip
DISCARDED = "This checkpoint was discarded meanwhile. Choose another one."


@transaction.atomic
def promote(checkpoint: Checkpoint, user: User) -> Job:
    """Queue the job that makes a model of the checkpoint; an earlier one that did not fail is returned.

    It shares the checkpoint's archive, so the source may discard its own. Raises ``WrongState``.
    """
    kept = Checkpoint.objects.select_for_update().filter(pk=checkpoint.pk).first()
    if kept is None:
        raise WrongState(DISCARDED)
    source = checkpoint.job
    if source.promoted_step is not None:
        raise WrongState("This job promotes a checkpoint of another job already.")
    if earlier := promotion_of(source, kept.step):
        return earlier
    made = Job.objects.create(
        **{name: getattr(source, name) for name in COPIED},
        name=f"{source.name[:NAME_STEM]}, step {kept.step}",
        created_by=user,
        step=kept.step,
        promoted_from=source,
        promoted_step=kept.step,
    )
    made.checkpoints.create(step=kept.step, attempt=0, key=kept.key, bytes=kept.bytes, sha256=kept.sha256)
    _copy_tasks_and_suites(source, made)
    record_event(source.team, user, "promoted checkpoint to a model", f"step {kept.step} of {source}")
    messages.notify_workers("validate_job", made.pk)
    return made


def promotion_of(job: Job, step: int) -> Job | None:
    """The job that makes, or has made, a model of the step."""
    over = (State.FAILED, State.CANCELLED)
    return job.promotions.filter(promoted_step=step).exclude(state__in=over).select_related("team").first()


def _copy_tasks_and_suites(source: Job, made: Job) -> None:
    tasks, suites = list(source.tasks.all()), list(source.suites.all())
    for task in tasks:
        task.pk, task.job = None, made
    for suite in suites:
        suite.pk, suite.job = None, made
    JobTask.objects.bulk_create(tasks)
    JobSuite.objects.bulk_create(suites)
