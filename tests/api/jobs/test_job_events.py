"""Events of a job: one for each step, also if a crash makes an attempt repeat steps."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from tests.api.conftest import Call
from tests.web.comparison import finished_job, row, sample, side_summary, tuned_model
from webapp.datasets.files.file_content import read_chunks
from webapp.datasets.files.services import find_file
from webapp.jobs import recording
from webapp.jobs.models import Job
from webapp.jobs.results.result_file import store_results
from webapp.jobs.states import State
from webapp.jobs.transitions import change_state
from webapp.teams.models import Team, User
from workers.contract import events


@pytest.fixture
def job(team: Team, alice: User) -> Job:
    """A running job that validates every second step of six."""
    job = finished_job(team, alice)
    evaluation = job.settings.evaluation.model_copy(update={"every": 2})
    job.settings = job.settings.model_copy(update={"evaluation": evaluation})
    job.state, job.attempt, job.step, job.total_steps, job.phase = State.RUNNING, 1, 0, 6, "train"
    job.save()
    return job


def metrics(step: int, reward: float = 0.5, **values: float) -> events.MetricsEvent:
    return events.MetricsEvent(step=step, total_steps=6, values={"reward": reward} | values)


def rollouts(step: int, *errors: str | None) -> events.RolloutsEvent:
    return events.RolloutsEvent(
        step=step,
        rollouts=[
            events.Rollout.model_validate(
                {"index": index, "group": 0, "row_id": "r", "prompt": "", "completion": "", "reward": 0.5,
                 "error_class": error, "advantage": 0.0, "length": 3, "truncated": False, "adapter_step": 0}
            )
            for index, error in enumerate(errors or (None,))
        ],
    )  # fmt: skip


def validation(step: int, reward: float) -> events.EvaluationEvent:
    side = side_summary(reward)
    rows = [row("r", [sample(0.0, "a")], [sample(reward, "b"), sample(None, "c")])]
    return events.EvaluationEvent(
        stage="during", split="validation", step=step, rows=1, samples_per_row=2, base=side, tuned=side,
        details=rows,
    )  # fmt: skip


def record(job: Job, *batch: events.Event, attempt: int = 1) -> None:
    assert recording.record_events(job.pk, attempt, batch)


def steps(call: Call, job: Job) -> list[dict[str, Any]]:
    """The payloads of metrics events, oldest first."""
    listed = call("GET", f"/fine_tuning/jobs/{job.uid}/events?limit=100").json()["data"]
    return [each["data"] for each in reversed(listed) if each["type"] == "metrics"]


def messages(call: Call, job: Job) -> list[str]:
    listed = call("GET", f"/fine_tuning/jobs/{job.uid}/events?limit=100").json()["data"]
    return [each["message"] for each in reversed(listed)]


def test_a_steps_event_waits_for_its_rollouts_and_its_validation(call: Call, job: Job) -> None:
    record(job, metrics(1))
    assert steps(call, job) == []
    record(job, rollouts(1))
    assert [each["step"] for each in steps(call, job)] == [1]
    record(job, metrics(2), rollouts(2))
    assert [each["step"] for each in steps(call, job)] == [1]
    record(job, validation(2, 0.75))
    first, second = steps(call, job)
    assert "valid_reward_mean" not in first
    assert second["valid_reward_mean"] == second["full_valid_mean_reward"] == 0.75
    assert second["scores"]["valid_reward_mean"] == 0.75


def test_the_payload_has_the_vendors_names(call: Call, job: Job) -> None:
    values = {
        "completions/mean_length": 12.0, "time/generation": 2.0, "time/training": 1.0, "step_time": 3.5,
        "rewards/format/mean": 0.25, "judge/m/prompt_tokens": 30.0, "judge/m/cost": 0.1,
    }  # fmt: skip
    record(job, metrics(1), rollouts(1))
    record(job, metrics(2, 0.42, **values), rollouts(2, "sample_parse_error", None), validation(2, 0.68))
    payload = steps(call, job)[1]
    assert (payload["train_mean_reward"], payload["train_reward_mean"]) == (0.42, 0.42)
    assert payload["completion_tokens_mean"] == 12.0
    assert payload["timing"]["step"] == {"sampling": 2.0, "training": 1.0, "full_iteration": 3.5}
    assert payload["model_graders_token_usage"] == {"m": {"train_prompt_tokens": 30}}
    grader = payload["errors"]["graders"][0]
    assert grader["type"] == "python"
    assert grader["train_sample_parse_error_count"] == 1.0
    assert grader["train_sample_parse_error_mean"] == 0.5
    assert grader["valid_python_grader_runtime_error_count"] == 1.0
    assert payload["full_valid_mean_parse_error"] == 0.0
    scores = {each["name"]: each for each in payload["scores"]["graders"]}
    assert scores["format"]["train_reward_mean"] == 0.25
    assert scores["value"]["valid_reward_mean"] == 0.68
    assert messages(call, job)[-1] == (
        "Step 2/6 , train mean reward=0.42, full validation mean reward=0.68, "
        "full validation mean parse error=0.00"
    )


def test_steps_that_a_crash_repeats_have_one_event_each(call: Call, job: Job) -> None:
    record(job, metrics(1), rollouts(1))
    record(job, metrics(2), rollouts(2), validation(2, 0.5))
    record(job, metrics(3), rollouts(3))
    known = call("GET", f"/fine_tuning/jobs/{job.uid}/events?limit=100").json()["data"]
    Job.objects.filter(pk=job.pk).update(attempt=2)
    assert recording.begin_attempt(job.pk, 2, 1)
    record(job, metrics(2), rollouts(2), validation(2, 0.5), metrics(3), rollouts(3), attempt=2)
    record(job, metrics(4), rollouts(4), attempt=2)
    record(job, validation(4, 0.5), attempt=2)
    assert [each["step"] for each in steps(call, job)] == [1, 2, 3, 4]
    again = call("GET", f"/fine_tuning/jobs/{job.uid}/events?limit=100").json()["data"]
    assert [each for each in again if each in known] == known


def test_a_validation_that_a_pause_interrupted_is_waited_for(call: Call, job: Job) -> None:
    record(job, metrics(1), rollouts(1), metrics(2), rollouts(2))
    change_state(job.pk, State.PAUSED)
    assert [each["step"] for each in steps(call, job)] == [1]
    change_state(job.pk, State.QUEUED)
    change_state(job.pk, State.RUNNING, attempt=2)
    assert recording.begin_attempt(job.pk, 2, 2)
    record(job, validation(2, 0.5), attempt=2)
    assert [each["step"] for each in steps(call, job)] == [1, 2]


def test_the_last_steps_event_comes_before_the_end(call: Call, job: Job) -> None:
    record(job, metrics(1), rollouts(1), metrics(2), rollouts(2))
    model = tuned_model(job)
    change_state(job.pk, State.SUCCEEDED)
    assert messages(call, job) == [
        "Step 1/6 , train mean reward=0.50",
        "Step 2/6 , train mean reward=0.50",
        f"New fine-tuned model created: {model.name}",
        "The job has successfully completed",
    ]


def test_a_cursor_stays_valid_while_events_arrive(call: Call, job: Job) -> None:
    for step in (1, 3, 5):
        record(job, metrics(step), rollouts(step))
    path = f"/fine_tuning/jobs/{job.uid}/events?limit=2"
    newest = call("GET", path).json()
    record(job, metrics(6), rollouts(6), validation(6, 0.5))
    older = call("GET", f"{path}&after={newest['last_id']}").json()
    assert [each["data"]["step"] for each in newest["data"]] == [5, 3]
    assert [each["data"]["step"] for each in older["data"]] == [1]
    assert all(each["id"].startswith("ftevent-") for each in newest["data"])


def test_the_first_events_name_the_job_and_its_files(call: Call, job: Job) -> None:
    from webapp.jobs.launch.request import JobRequest, single_task
    from webapp.jobs.launch.service import launch, validate_files

    tasks = single_task(job.dataset_version, job.grader_version)
    launched = launch(JobRequest(job.team, None, "next", job.base_model, tasks, {}))
    validate_files(launched.pk)
    change_state(launched.pk, State.RUNNING, attempt=1)
    version = launched.dataset_version
    assert messages(call, launched) == [
        f"Created fine-tuning job: {launched.uid}",
        f"Validating training file: {version.uid} and validation file: {version.validation_file.uid}",
        "Files validated, moving job to queued state",
        "Fine-tuning job started",
    ]


def test_the_result_file_has_a_row_a_step_under_both_spellings(job: Job) -> None:
    record(job, metrics(1), rollouts(1), metrics(2, 0.75), rollouts(2, "other_error"), validation(2, 0.5))
    file = find_file(job.team, store_results(job))
    rows = list(csv.DictReader(io.StringIO(b"".join(read_chunks(file)).decode())))
    assert file.purpose == "fine-tune-results"
    assert [each["step"] for each in rows] == ["1", "2"]
    assert rows[1]["train_mean_reward"] == rows[1]["train_reward_mean"] == "0.75"
    assert [each["full_valid_mean_reward"] for each in rows] == ["", "0.5"]
    assert rows[1]["errors/graders/fields/train_other_error_count"] == "1.0"
