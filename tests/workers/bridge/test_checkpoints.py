"""Real workers: a job finishes early although it is killed meanwhile, and a checkpoint becomes a model."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from tests.conftest import Process
from tests.workers.bridge.test_jobs import (  # noqa: F401 -- a fixture
    STEPS,
    at_step,
    children,
    in_state,
    launch,
    steps_of,
    wait,
)
from webapp.jobs.models import Job
from webapp.jobs.promotion import promote_checkpoint
from webapp.jobs.services import request_finish
from webapp.jobs.states import TERMINAL, State
from webapp.registry.models import TunedModel
from webapp.teams.models import User


def run_file(model: TunedModel | None) -> dict[str, object]:
    assert model is not None
    with default_storage.open(f"{model.prefix}/run.json") as file:
        return dict(json.load(file))


def test_a_job_finishes_early_through_a_crash_and_its_checkpoints_become_models(
    launch: Callable[..., Job],  # noqa: F811
    start_worker: Callable[..., Process],
    alice: User,
) -> None:
    start_worker()
    job = wait(launch(), at_step(5))
    request_finish(job, alice)
    os.kill(children(job)[0], signal.SIGKILL)
    wait(job, in_state(State.SUCCEEDED))
    assert job.attempt == 2
    assert job.step < STEPS == job.total_steps
    assert steps_of(job) == list(range(1, job.step + 1))
    assert job.evaluations.get(stage="after").step == job.step
    made = run_file(job.tuned_model)
    assert (made["steps"], made["planned_steps"]) == (job.step, STEPS)

    newest, older = job.checkpoints.all()[:2]
    promotion = wait(promote_checkpoint(older, alice), in_state(State.SUCCEEDED))
    assert (promotion.step, promotion.attempt) == (older.step, 1)
    assert not promotion.metrics.exists()
    assert promotion.evaluations.get(stage="after", split="test").step == older.step
    made = run_file(promotion.tuned_model)
    assert made["promoted_from"] == {"job_id": job.uid, "step": older.step}
    assert made["steps"] == older.step

    default_storage.delete(newest.key)
    default_storage.save(newest.key, ContentFile(b"torn"))
    broken = promote_checkpoint(newest, alice)
    end = time.monotonic() + 60
    while broken.state not in TERMINAL:
        assert time.monotonic() < end
        time.sleep(0.2)
        broken.refresh_from_db()
    assert (broken.state, broken.error and broken.error.code) == (State.FAILED, "checkpoint_missing")
    assert broken.step == newest.step
