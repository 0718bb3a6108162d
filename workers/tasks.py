"""Celery's tasks: each is one more way to call a service."""

from __future__ import annotations

from webapp.datasets import transfers
from webapp.datasets.imports import requeue_silent
from webapp.datasets.services import discard_stale_uploads
from webapp.graders import checking, trial_queue
from webapp.jobs import leases, nodes, notices, removal, rollouts, services
from webapp.judges import services as judges
from webapp.registry import exporting
from webapp.registry import inspections as registry_inspections
from workers.bridge import cards, checks, exports, imports, inspections, jobs, trials
from workers.celery import app


@app.task
def validate_job(job_id: int) -> None:
    """Check a new job's files and let it queue."""
    services.validate_files(job_id)


@app.task
def look() -> None:
    """Take jobs that fit this node until none is left."""
    jobs.look()


@app.task
def run_trial(trial_id: int) -> None:
    """Grade the rows of one trial."""
    trials.run_trial(trial_id)


@app.task
def run_check(check_id: int) -> None:
    """See what one version of a grader pays for cheats and known answers."""
    checks.run_check(check_id)


@app.task
def check_endpoint(endpoint_id: int) -> None:
    """See whether a judge answers."""
    cards.check_endpoint(endpoint_id)


@app.task
def make_card(card_id: int) -> None:
    """Hold a judge's word against people's labels."""
    cards.make_card(card_id)


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
    notices.send_mail()


@app.task
def reap() -> None:
    """Take jobs back from silent workers, and ring again for all that waits."""
    leases.reap()
    trial_queue.requeue_silent_trials()
    checking.ring_again()
    judges.ring_again()
    exporting.ring_again()
    registry_inspections.requeue_silent()
    requeue_silent()
    notices.ring_again()


@app.task
def tidy() -> None:
    """Throw away what nobody committed, and what teams do not keep."""
    discard_stale_uploads()
    transfers.forget_stale()
    rollouts.forget_old()
    removal.purge_deleted()
    nodes.forget_silent()
