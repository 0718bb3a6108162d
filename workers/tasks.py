"""Celery's tasks: each is one more way to call a service."""

from __future__ import annotations

from typing import Any

from webapp.calibration.queues import CARDS
from webapp.datasets.uploads import transfers
from webapp.datasets.uploads.imports import IMPORTS
from webapp.datasets.uploads.services import discard_stale_uploads
from webapp.endpoints.queues import ENDPOINT_CHECKS
from webapp.graders.queues import CHECKS, TRIALS, enqueue_checks_with_new_rows
from webapp.jobs.launch import service
from webapp.jobs.listing import removal
from webapp.jobs.live import notifications
from webapp.jobs.queue import JOBS
from webapp.jobs.rollouts import search
from webapp.registry.queues import EXPORTS, INSPECTIONS
from webapp.work import nodes
from webapp.work.queue import LeaseQueue
from workers.bridge import checks, exports, imports, inspections, judge_checks, trials
from workers.bridge.jobs import attempts
from workers.celery import app

QUEUES: tuple[LeaseQueue[Any], ...] = (
    JOBS,
    TRIALS,
    CHECKS,
    CARDS,
    ENDPOINT_CHECKS,
    EXPORTS,
    INSPECTIONS,
    IMPORTS,
)


@app.task
def validate_job(job_id: int) -> None:
    """Check a new job's files and let it queue."""
    service.validate_files(job_id)


@app.task
def run_jobs() -> None:
    """Run jobs that fit this node until none is left."""
    attempts.run_jobs()


@app.task
def run_trial(trial_id: int) -> None:
    """Grade the rows of one trial."""
    trials.run_trial(trial_id)


@app.task
def run_check(check_id: int) -> None:
    """See what one version of a grader pays for cheats and known answers."""
    checks.run_check(check_id)


@app.task
def check_endpoint(check_id: int) -> None:
    """See whether a judge answers."""
    judge_checks.check_endpoint(check_id)


@app.task
def make_card(card_id: int) -> None:
    """Hold a judge's word against people's labels."""
    judge_checks.make_card(card_id)


@app.task
def run_export(export_id: int) -> None:
    """Write a model in another format and check it."""
    exports.run_export(export_id)


@app.task
def import_dataset(import_id: int) -> None:
    """Download a file that a user named and check it as an upload."""
    imports.run_import(import_id)


@app.task
def inspect_base(inspection_id: int) -> None:
    """Tell what a base model is and what keeps it from being used."""
    inspections.inspect_base(inspection_id)


@app.task
def send_mail() -> None:
    """Tell people by e-mail that their jobs have ended."""
    notifications.send_mail()


@app.task
def reap() -> None:
    """Take work back from silent workers, and wake workers up for all that waits."""
    enqueue_checks_with_new_rows()
    for queue in QUEUES:
        queue.requeue_silent()
    notifications.notify_waiting()


@app.task
def tidy() -> None:
    """Delete stale uploads, expired rollouts and what was deleted for good."""
    discard_stale_uploads()
    transfers.discard_stale_transfers()
    search.delete_expired()
    removal.purge_deleted()
    nodes.delete_silent_nodes()
