"""Jobs of large files: the request answers at once, and a worker makes the rows before the job is queued."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.test import Client

from tests.api.conftest import Call
from tests.api.jobs.bodies import build_body, make_file, write_rows
from webapp.datasets.files.models import ApiFile
from webapp.datasets.files.services import create_file, delete_file
from webapp.datasets.models import Dataset
from webapp.jobs.api.requests import ROWS_AT_ONCE
from webapp.jobs.launch.row_builds import ROW_BUILDS
from webapp.jobs.launch.service import validate_files
from webapp.jobs.models import Job, RowBuild
from webapp.jobs.queue import JOBS
from webapp.jobs.states import State
from webapp.registry.services import ensure_starter_model
from webapp.teams.models import Team, User
from workers.bridge.jobs.rows import run_build

LARGE = range(ROWS_AT_ONCE + 1)


@pytest.fixture(autouse=True)
def _starter(db: None) -> None:
    ensure_starter_model()


def create(call: Call, training: ApiFile, validation: ApiFile | None = None, **changes: Any) -> Job:
    answer = call("POST", "/fine_tuning/jobs", build_body(training, validation, **changes))
    assert answer.status_code == 200, answer.content
    assert answer.json()["status"] == "validating_files"
    return Job.objects.get(uid=answer.json()["id"])


def test_a_worker_makes_the_rows_and_then_the_job_is_queued(
    call: Call, team: Team, alice: User, as_user: Callable[[User], Client]
) -> None:
    training, validation = make_file(team, alice, LARGE), make_file(team, alice, range(5000, 5009))
    job = create(call, training, validation, hyperparameters={"n_epochs": 1, "batch_size": 4})
    assert not Dataset.objects.exists()
    client = as_user(alice)
    for page in (job.get_absolute_url(), f"{job.get_absolute_url()}config/", f"/t/{team.slug}/jobs/"):
        shown = client.get(page)
        assert shown.status_code == 200
    assert training.uid in client.get(job.get_absolute_url()).text
    validate_files(job.pk)
    JOBS.notify_waiting()
    job.refresh_from_db()
    assert job.state == State.VALIDATING_FILES, "it waits for its rows"
    delete_file(training, alice)  # its bytes stay for an hour
    run_build(job.row_build.pk)
    job.refresh_from_db()
    assert job.dataset_version is not None
    assert (job.dataset_version.rows, job.total_steps) == (len(LARGE) + 9, len(LARGE) // 4)
    assert job.settings.evaluation.validation_max_rows == 9
    validate_files(job.pk)
    job.refresh_from_db()
    assert (job.state, job.row_build.state) == (State.QUEUED, "finished")


@pytest.mark.parametrize("param", ["training_file", "validation_file"])
def test_a_wrong_row_fails_the_job_with_its_file_and_line(
    call: Call, team: Team, alice: User, param: str
) -> None:
    wrong = create_file(team, alice, "w.jsonl", "fine-tune", ContentFile(write_rows(LARGE) + b"{}\n", "w"))
    right = make_file(team, alice, range(9000, 9009))
    files = (wrong, right) if param == "training_file" else (right, wrong)
    job = create(call, *files)
    run_build(job.row_build.pk)
    shown = call("GET", f"/fine_tuning/jobs/{job.uid}").json()
    assert (shown["status"], shown["error"]["code"], shown["error"]["param"]) == (
        "failed", "invalid_training_file", param,
    )  # fmt: skip
    assert f"ine {len(LARGE) + 1}" in shown["error"]["message"]
    assert not Dataset.objects.exists()


def test_a_job_that_was_cancelled_meanwhile_stays_cancelled(call: Call, team: Team, alice: User) -> None:
    job = create(call, make_file(team, alice, LARGE))
    assert call("POST", f"/fine_tuning/jobs/{job.uid}/cancel").json()["status"] == "cancelled"
    run_build(job.row_build.pk)
    job.refresh_from_db()
    assert (job.state, job.dataset_version) == (State.CANCELLED, None)


def test_workers_that_keep_dying_fail_the_job(call: Call, team: Team, alice: User, settings: Any) -> None:
    settings.MAX_CRASHES = 0
    job = create(call, make_file(team, alice, LARGE))
    build = ROW_BUILDS.claim(RowBuild.objects.get().pk)
    assert build is not None
    ROW_BUILDS.crash(build, "killed")
    job.refresh_from_db()
    assert job.error is not None
    assert (job.state, job.error.code) == (State.FAILED, "worker_died")
