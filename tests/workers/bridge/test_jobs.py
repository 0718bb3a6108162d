"""Real workers on a real database and broker: jobs survive what kills them, and run once."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import connection

from tests.conftest import Process
from webapp.home.sample_project import create_sample_project
from webapp.jobs.launch.request import JobRequest, single_task
from webapp.jobs.launch.service import launch as launch_job
from webapp.jobs.models import Job, JobEvent
from webapp.jobs.services import request_cancel, request_pause, resume_job
from webapp.jobs.states import TERMINAL, State
from webapp.registry.services import ensure_starter_model
from webapp.teams.models import Team, User
from webapp.work.models import Node

STEPS = 24  # long enough that a pause or a kill meets the job at work, on a fast machine too
SETTINGS: dict[str, Any] = {
    "lora": {"rank": 4},
    "grpo": {"max_steps": STEPS, "prompts_per_step": 2, "group_size": 4, "max_completion_length": 32,
             "learning_rate": 1e-3, "checkpoint_every": 2},
    "evaluation": {"every": 0, "max_rows": 4, "validation_max_rows": 4, "samples_per_row": 2,
                   "validation_samples_per_row": 2, "bootstrap_resamples": 100},
    "resources": {"device": "cpu", "cpu_cores": 1},
    "preflight": {"rows": 0},
    "seed": 3,
}  # fmt: skip


@pytest.fixture
def launch(team: Team, alice: User) -> Callable[..., Job]:
    dataset, grader = create_sample_project(team, alice)

    def run(name: str = "job", **grpo: Any) -> Job:
        version, grader_version = dataset.versions.get(), grader.versions.get()
        return launch_job(
            JobRequest(
                team=team,
                user=alice,
                name=name,
                base_model=ensure_starter_model(),
                tasks=single_task(version, grader_version),
                settings=SETTINGS | {"grpo": SETTINGS["grpo"] | grpo},
            )
        )

    return run


def wait(job: Job, reached: Callable[[Job], bool], seconds: float = 180) -> Job:
    end = time.monotonic() + seconds
    while not reached(job):
        assert time.monotonic() < end, f"{job.state} {job.phase} step {job.step}, error {job.error}"
        assert job.state not in TERMINAL, f"the job ended {job.state}: {job.error}"
        time.sleep(0.2)
        job.refresh_from_db()
    return job


def at_step(step: int) -> Callable[[Job], bool]:
    return lambda job: job.step >= step


def in_state(state: State) -> Callable[[Job], bool]:
    return lambda job: job.state == state


def children(job: Job) -> list[int]:
    """Process ids of the engines that work on the job."""
    marks = {f"/{job.uid}/attempt_".encode(), b"workers.engine"}
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if all(mark in command for mark in marks):
            found.append(int(folder.name))
    return found


def steps_of(job: Job) -> list[int]:
    return list(job.metrics.order_by("step").values_list("step", flat=True))


def assert_every_step_once(job: Job) -> None:
    assert steps_of(job) == list(range(1, job.total_steps + 1))
    rollouts = SETTINGS["grpo"]["prompts_per_step"] * SETTINGS["grpo"]["group_size"]
    assert job.rollouts.count() == job.total_steps * rollouts


def test_a_job_survives_kill_9_of_its_child_and_of_its_worker(
    launch: Callable[..., Job], start_worker: Callable[..., Process]
) -> None:
    worker = start_worker("one")
    job = wait(launch(), at_step(3))
    os.kill(children(job)[0], signal.SIGKILL)
    wait(job, lambda job: job.attempt == 2 and job.step >= 5)
    os.kill(worker.pid, signal.SIGKILL)
    start_worker("two")
    wait(job, in_state(State.SUCCEEDED))
    assert job.attempt == 3
    assert_every_step_once(job)
    assert job.tuned_model is not None
    assert {"adapter_model.safetensors", "SHA256SUMS"} <= {file["name"] for file in job.tuned_model.files}
    assert job.evaluations.filter(stage="after", split="test").get().compared_rows.count() == 4


def test_pause_frees_the_worker_and_resume_goes_on_from_the_same_step(
    launch: Callable[..., Job], start_worker: Callable[..., Process], alice: User
) -> None:
    start_worker()
    job = wait(launch(), at_step(3))
    request_pause(job, alice)
    wait(job, in_state(State.PAUSED))
    assert job.step < STEPS
    assert not children(job)
    resume_job(job, alice)
    wait(job, in_state(State.SUCCEEDED))
    assert_every_step_once(job)


def test_cancel_ends_the_job_at_once_and_keeps_its_checkpoint(
    launch: Callable[..., Job], start_worker: Callable[..., Process], alice: User
) -> None:
    start_worker()
    job = wait(launch(), lambda job: job.checkpoints.exists())
    request_cancel(job, alice)
    job.refresh_from_db()
    assert job.state == State.CANCELLED
    end = time.monotonic() + 30
    while children(job):
        assert time.monotonic() < end, "the engine still works on a cancelled job"
        time.sleep(0.2)
    assert job.checkpoints.exists()


def test_two_workers_share_the_queue(
    launch: Callable[..., Job], start_worker: Callable[..., Process]
) -> None:
    start_worker("one", GROOVE_CPU_CORES="1")
    start_worker("two", GROOVE_CPU_CORES="1")
    end = time.monotonic() + 60
    while Node.objects.count() < 2:
        assert time.monotonic() < end, "a worker did not announce itself within a minute"
        time.sleep(0.2)
    jobs = [launch(name, max_steps=2) for name in ("first", "second")]
    for job in jobs:
        wait(job, in_state(State.SUCCEEDED))
    started = JobEvent.objects.filter(kind="state", data__state="running")
    nodes = set(started.values_list("data__node", flat=True))
    assert nodes == {"one", "two"}


def adapter_of(job: Job) -> str:
    assert job.tuned_model is not None
    (file,) = (each for each in job.tuned_model.files if each["name"] == "adapter_model.safetensors")
    return str(file["sha256"])


def cut_connections() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "select count(pg_terminate_backend(pid)) from pg_stat_activity "
            "where datname = current_database() and pid <> pg_backend_pid()"
        )
        return int(cursor.fetchone()[0])


def test_cut_connections_a_killed_engine_and_a_torn_checkpoint_change_no_bit_of_the_adapter(
    launch: Callable[..., Job], start_worker: Callable[..., Process]
) -> None:
    start_worker()
    calm = wait(launch("calm"), in_state(State.SUCCEEDED))
    job = wait(launch("wild"), at_step(3))
    assert cut_connections() > 0
    wait(job, at_step(7))
    assert job.attempt == 1  # cut connections cost no attempt
    newest = job.checkpoints.order_by("-step").first()
    assert newest
    with default_storage.open(newest.key, "rb") as file:
        torn = file.read()[:-100]
    default_storage.delete(newest.key)
    default_storage.save(newest.key, ContentFile(torn))
    os.kill(children(job)[0], signal.SIGKILL)
    wait(job, in_state(State.SUCCEEDED))
    assert job.attempt == 2
    assert_every_step_once(job)
    assert adapter_of(job) == adapter_of(calm)
    assert [m.values["reward"] for m in job.metrics.all()] == [m.values["reward"] for m in calm.metrics.all()]


def test_pause_frees_the_device_within_ten_seconds_of_a_long_step(
    launch: Callable[..., Job], start_worker: Callable[..., Process], alice: User
) -> None:
    start_worker()
    job = wait(launch(prompts_per_step=32, group_size=32, max_completion_length=64), at_step(1), 240)
    time.sleep(1)  # in the middle of the second step, which takes many seconds
    request_pause(job, alice)
    asked = time.monotonic()
    while children(job):
        assert time.monotonic() - asked < 10
        time.sleep(0.1)
    wait(job, in_state(State.PAUSED), 30)
    assert job.checkpoints.get().step == job.step


def test_a_worker_that_is_told_to_end_hands_its_job_on(
    launch: Callable[..., Job], start_worker: Callable[..., Process]
) -> None:
    worker = start_worker("one")
    job = wait(launch(), at_step(3))
    worker.send_signal(signal.SIGTERM)
    worker.wait(60)
    wait(job, in_state(State.QUEUED), 5)
    assert job.crashes == 0
    start_worker("two")
    wait(job, in_state(State.SUCCEEDED))
    assert_every_step_once(job)


def test_an_engine_that_says_nothing_is_ended_and_its_job_goes_on(
    launch: Callable[..., Job], start_worker: Callable[..., Process]
) -> None:
    start_worker()
    job = launch()
    alarm = job.settings.alarm.model_copy(update={"stuck_seconds": 10})
    Job.objects.filter(pk=job.pk).update(settings=job.settings.model_copy(update={"alarm": alarm}))
    wait(job, at_step(3))
    os.kill(children(job)[0], signal.SIGSTOP)
    wait(job, lambda job: job.attempt == 2)
    wait(job, in_state(State.SUCCEEDED))
    said = [event.data["message"] for event in job.events.filter(kind="log", data__level="warning")]
    assert any("sent no event for 10 s" in message for message in said)
    assert_every_step_once(job)
