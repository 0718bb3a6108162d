"""One event for every training step, with its metrics, also if an attempt repeats steps after a crash."""

from __future__ import annotations

from webapp.jobs.job_events import add_event
from webapp.jobs.models import Job, Metric
from webapp.jobs.results.step_metrics import describe_steps, select_validations

AFTER_TRAINING = ("evaluate", "package")


def report_steps(job: Job, *, ended: bool = False) -> bool:
    """Add the events of complete steps that have none yet, and set ``job.reported_step``.

    A step is complete when everything about it is recorded, when the next one has begun, or when training has
    ended. Returns True if the caller must save ``reported_step``. Call it with the job's row locked.
    """
    metrics = list(job.metrics.filter(step__gt=job.reported_step).order_by("step"))
    ended = ended or job.phase in AFTER_TRAINING
    if metrics and not ended and not _is_recorded(job, metrics[-1]):
        metrics.pop()
    for payload in describe_steps(job, metrics) if metrics else []:
        add_event(job.pk, job.attempt, "step", payload)
    if metrics:
        job.reported_step = metrics[-1].step
    return bool(metrics)


def _is_recorded(job: Job, newest: Metric) -> bool:
    """True if the step's rollouts are recorded, and its evaluation if it validates."""
    if job.training_method.samples and not job.rollouts.filter(step=newest.step).exists():
        return False
    return not validates(job, newest.step) or select_validations(job).filter(step=newest.step).exists()


def validates(job: Job, step: int) -> bool:
    """True if the job is evaluated on validation rows after the step."""
    every = job.settings.evaluation.every
    if every == 0 or step % every:
        return False
    versions = [part.dataset_version for part in job.graded_parts]
    return any(version.files["validation"]["rows"] for version in versions if version)
