"""Celery tasks. Each calls one service."""

from __future__ import annotations

from typing import Any

from webapp.calibration.queues import CARDS
from webapp.datasets.files.services import delete_removed_bytes
from webapp.datasets.files.uploads import expire_uploads
from webapp.datasets.uploads import transfers
from webapp.datasets.uploads.imports import IMPORTS
from webapp.datasets.uploads.services import discard_stale_uploads
from webapp.endpoints.queues import ENDPOINT_CHECKS
from webapp.environments.queues import INSPECTIONS as ENVIRONMENT_INSPECTIONS
from webapp.environments.queues import PLAYS, TASK_DATASETS
from webapp.evals.queues import EVAL_RUNS
from webapp.graders.queues import CHECKS, TRIALS, enqueue_checks_with_new_rows
from webapp.interactions.erasure import delete_expired as delete_expired_interactions
from webapp.jobs.launch import service
from webapp.jobs.launch.row_builds import ROW_BUILDS
from webapp.jobs.listing import removal
from webapp.jobs.live import notifications
from webapp.jobs.queue import JOBS
from webapp.jobs.rollouts import search
from webapp.keys.idempotency import delete_expired_answers
from webapp.registry.queues import EXPORTS, INSPECTIONS
from webapp.remote_imports.services import REMOTE_IMPORTS
from webapp.serving.queues import SERVERS
from webapp.webhooks import deliveries
from webapp.work import nodes
from webapp.work.queue import LeaseQueue
from workers.bridge import (
    environments,
    evals,
    exports,
    imports,
    inspections,
    model_servers,
    remote_imports,
)
from workers.bridge.graders import checks, judge_checks, trials
from workers.bridge.jobs import attempts, rows
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
    REMOTE_IMPORTS,
    EVAL_RUNS,
    ENVIRONMENT_INSPECTIONS,
    TASK_DATASETS,
    PLAYS,
    ROW_BUILDS,
    SERVERS,
)


@app.task
def validate_job(job_id: int) -> None:
    """Check a new job's files, then queue it."""
    service.validate_files(job_id)


@app.task
def build_rows(build_id: int) -> None:
    """Make the rows of a new job of its files."""
    rows.run_build(build_id)


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
    """Measure the rewards of one grader version for cheats and known answers."""
    checks.run_check(check_id)


@app.task
def check_endpoint(check_id: int) -> None:
    """Check that a judge answers."""
    judge_checks.check_endpoint(check_id)


@app.task
def make_card(card_id: int) -> None:
    """Compare a judge with people's labels."""
    judge_checks.make_card(card_id)


@app.task
def run_export(export_id: int) -> None:
    """Write a model in another format and check it."""
    exports.run_export(export_id)


@app.task
def import_dataset(import_id: int) -> None:
    """Download a file that a user named, and check it as an upload."""
    imports.run_import(import_id)


@app.task
def run_remote_import(import_id: int) -> None:
    """Take over files and jobs from another service."""
    remote_imports.run_import(import_id)


@app.task
def run_eval(run_id: int) -> None:
    """Sample and grade the rows of an eval run."""
    evals.run_eval(run_id)


@app.task
def inspect_environment(inspection_id: int) -> None:
    """List an environment's tools and tasks, and check it."""
    environments.inspect_environment(inspection_id)


@app.task
def make_task_dataset(made_id: int) -> None:
    """Make a dataset version of an environment's tasks."""
    environments.make_task_dataset(made_id)


@app.task
def continue_play(play_id: int) -> None:
    """Make the moves of a person or an oracle in an environment."""
    environments.continue_play(play_id)


@app.task
def inspect_base(inspection_id: int) -> None:
    """Describe a base model and its problems."""
    inspections.inspect_base(inspection_id)


@app.task
def serve_model(server_id: int) -> None:
    """Serve a base model until it is idle or stopped."""
    model_servers.serve_model(server_id)


@app.task
def send_mail() -> None:
    """Send e-mails about ended jobs."""
    notifications.send_mail()


@app.task
def deliver_webhook(delivery_id: int) -> None:
    """Send an event to a webhook endpoint."""
    deliveries.deliver(delivery_id)


@app.task
def reap() -> None:
    """Requeue work of silent workers, and notify workers of all queued work."""
    enqueue_checks_with_new_rows()
    for queue in QUEUES:
        queue.requeue_silent()
    notifications.notify_waiting()
    deliveries.notify_waiting()


@app.task
def tidy() -> None:
    """Delete what is stale, expired, removed for good or silent."""
    discard_stale_uploads()
    transfers.discard_stale_transfers()
    expire_uploads()
    delete_removed_bytes()
    search.delete_expired()
    delete_expired_interactions()
    removal.purge_deleted()
    nodes.delete_silent_nodes()
    deliveries.delete_old()
    delete_expired_answers()
