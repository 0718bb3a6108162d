"""States, claims and recording of jobs: each job runs once, and only its holder writes."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from tests.web.concurrency import run_at_once
from webapp.home.sample_project import create_sample_project
from webapp.jobs import recording, services
from webapp.jobs.errors import SettingsInvalid, WrongState
from webapp.jobs.launch.request import JobRequest, single_task
from webapp.jobs.launch.service import _find_file_error, check_settings, launch, validate_files
from webapp.jobs.models import Job, Metric
from webapp.jobs.monitor.metrics import MAX_POINTS, read_series
from webapp.jobs.queue import JOBS, claim_job, requested_stop
from webapp.jobs.states import TERMINAL, TRANSITIONS, State, list_sources
from webapp.registry.services import ensure_starter_model
from webapp.teams.models import Team, User
from webapp.work import nodes
from workers.contract.devices import GivenDevices, NodeDevices
from workers.contract.events import MetricsEvent, Rollout, RolloutsEvent
from workers.contract.spec import Resources

NODE = NodeDevices(cpu_cores=2)


@pytest.fixture
def job(team: Team, alice: User) -> Job:
    dataset, grader = create_sample_project(team, alice)
    return launch(
        JobRequest(
            team=team,
            user=alice,
            name="job",
            base_model=ensure_starter_model(),
            tasks=single_task(dataset.versions.get(), grader.versions.get()),
            settings={"grpo": {"max_steps": 5}},
        )
    )


@pytest.fixture
def running(job: Job) -> Job:
    nodes.register_node("here", {}, NODE, {})
    validate_files(job.pk)
    claimed = claim_job("here")
    assert claimed is not None
    return claimed


def metrics(step: int, reward: float = 0.5) -> MetricsEvent:
    return MetricsEvent(step=step, total_steps=5, values={"reward": reward})


def rollouts(step: int, text: str = "answer") -> RolloutsEvent:
    rollout = Rollout(
        index=0, group=0, row_id="r", prompt="p", completion=text, reward=1.0, advantage=0.5, length=3,
        truncated=False, adapter_step=step - 1,
    )  # fmt: skip
    return RolloutsEvent(step=step, rollouts=[rollout])


@given(st.sampled_from(State), st.sampled_from(State))
def test_sources_are_the_inverse_of_transitions(old: State, new: State) -> None:
    assert (new in TRANSITIONS[old]) == (old in list_sources(new))
    assert old not in TERMINAL or not TRANSITIONS[old]


@pytest.mark.django_db
def test_settings_out_of_bounds_are_named_by_their_path(job: Job) -> None:
    with pytest.raises(SettingsInvalid) as refused:
        check_settings({"grpo": {"learning_rate": -1, "nonsense": 1}, "seed": "x", "other": {}})
    assert set(refused.value.errors) == {"grpo.learning_rate", "grpo.nonsense", "seed", "other"}


@pytest.mark.django_db
def test_a_job_whose_files_are_gone_fails_with_the_reason(job: Job) -> None:
    files = job.dataset_version.files
    files["train"]["key"] = "gone.jsonl"
    job.dataset_version.save()
    validate_files(job.pk)
    job.refresh_from_db()
    assert job.state == State.FAILED
    assert job.error
    assert job.error.code == "invalid_training_file"


@pytest.mark.django_db
def test_a_stale_attempt_writes_nothing(running: Job) -> None:
    assert recording.record_events(running.pk, running.attempt, [metrics(1)])
    assert not recording.record_events(running.pk, running.attempt - 1, [metrics(2)])
    assert list(running.metrics.values_list("step", flat=True)) == [1]


@pytest.mark.django_db
def test_a_repeated_step_replaces_the_earlier_one(running: Job) -> None:
    for reward, text in ((0.1, "first"), (0.9, "nul \x00 character")):
        recording.record_events(running.pk, running.attempt, [metrics(1, reward), rollouts(1, text)])
    assert running.metrics.get().values == {"reward": 0.9}
    assert running.rollouts.get().completion == "nul \N{SYMBOL FOR NULL} character"


@pytest.mark.django_db
def test_an_attempt_that_resumes_deletes_later_steps(running: Job) -> None:
    recording.record_events(running.pk, running.attempt, [metrics(step) for step in (1, 2, 3)])
    recording.begin_attempt(running.pk, running.attempt, 2)
    assert list(running.metrics.values_list("step", flat=True)) == [1, 2]
    assert running.events.filter(kind="rewind").get().data == {"step": 2}


@pytest.mark.django_db
def test_an_expired_lease_requeues_the_job_until_it_crashed_too_often(running: Job, settings: Any) -> None:
    settings.MAX_CRASHES = 1
    for expected in (State.QUEUED, State.FAILED):
        Job.objects.update(lease_until=timezone.now() - timezone.timedelta(seconds=1))
        JOBS.requeue_silent()
        running.refresh_from_db()
        assert running.state == expected
        if expected == State.QUEUED:
            assert claim_job("here") is not None
    assert running.error
    assert running.error.code == "worker_died"


@pytest.mark.django_db
def test_a_node_claims_only_jobs_that_fit_its_free_devices(job: Job) -> None:
    validate_files(job.pk)
    nodes.register_node("small", {}, NodeDevices(cpu_cores=1), {})
    resources = Resources(device="cuda", gpus=1, cpu_cores=1, gpu_memory_gib=40)
    Job.objects.filter(pk=job.pk).update(settings=job.settings.model_copy(update={"resources": resources}))
    assert claim_job("small") is None
    gpus = [{"index": 0, "name": "a", "memory_gib": 24.0}, {"index": 1, "name": "b", "memory_gib": 80.0}]
    nodes.register_node("large", {}, NodeDevices(cpu_cores=8, gpus=gpus), {})
    claimed = claim_job("large")
    assert claimed is not None
    assert claimed.devices == GivenDevices(cpu_cores=1, gpus=[1])


@pytest.mark.django_db(transaction=True)
def test_simultaneous_claims_give_a_job_to_one_worker(job: Job) -> None:
    validate_files(job.pk)
    names = [f"node-{number}" for number in range(4)]
    for name in names:
        nodes.register_node(name, {}, NODE, {})
    claimed = [job for job in run_at_once(*(partial(claim_job, name) for name in names)) if job]
    assert [getattr(each, "attempt", each) for each in claimed] == [1]


@pytest.mark.django_db
def test_cancel_is_final_and_the_worker_loses_the_job(running: Job, alice: User) -> None:
    services.request_cancel(running, alice)
    assert requested_stop(running) is None
    assert not recording.record_events(running.pk, running.attempt, [metrics(1)])
    with pytest.raises(WrongState, match="cancelled"):
        services.request_pause(running, alice)


@pytest.mark.django_db
def test_a_job_keeps_its_deleted_dataset_and_grader(running: Job, alice: User) -> None:
    from webapp.datasets.services import delete_dataset
    from webapp.graders.services import delete_grader

    delete_dataset(running.dataset_version.dataset, alice)
    delete_grader(running.grader_version.grader, alice)
    running.refresh_from_db()
    assert running.state == State.RUNNING
    assert _find_file_error(running.dataset_version) is None


@pytest.mark.django_db
def test_thinned_charts_keep_every_extreme(running: Job) -> None:
    count = 3 * MAX_POINTS
    spike = 1234
    with transaction.atomic():
        Metric.objects.bulk_create(
            Metric(job=running, step=step, values={"reward": 9.0 if step == spike else 0.0})
            for step in range(count)
        )
    shown = read_series(running)
    assert len(shown["steps"]) <= MAX_POINTS
    assert max(shown["series"]["reward"]) == 9.0
    assert shown["steps"] == sorted(shown["steps"])


@pytest.mark.django_db
def test_an_outdated_page_cannot_resume_a_running_job(running: Job, alice: User) -> None:
    Job.objects.filter(pk=running.pk).update(state=State.PAUSED)
    seen_earlier = Job.objects.get(pk=running.pk)
    Job.objects.filter(pk=running.pk).update(state=State.RUNNING)
    with pytest.raises(WrongState, match="running"):
        services.resume_job(seen_earlier, alice)


SEND = (
    "import django; django.setup(); from webapp.work import messages; "
    "messages._send('run_jobs', ()); print('went on')"
)


def test_a_request_succeeds_without_a_broker() -> None:
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "webapp.config.settings",
        "BROKER_URL": "redis://127.0.0.1:1/0",
    }
    done = subprocess.run(
        [sys.executable, "-c", SEND], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "went on\n", done.stderr
    assert "Celery beat sends it again" in done.stderr
