"""The whole life of a model with the newest OpenAI SDK, unmodified: only ``base_url`` names Groove."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable
from typing import Any

import openai
import pytest
from openai import OpenAI
from openai.types.fine_tuning import FineTuningJob

from tests.api.conftest import make_secret
from webapp.home.sample_project import FOLDER
from webapp.registry.services import ensure_starter_model
from webapp.teams.models import Team, User

GRADER: dict[str, Any] = {
    "type": "multi",
    "name": "both",
    "calculate_output": "0.1 * kind + 0.9 * close",
    "graders": {
        "kind": {"type": "string_check", "name": "kind", "operation": "like", "reference": "{",
                 "input": "{{sample.output_text}}"},
        "close": {"type": "text_similarity", "name": "close", "evaluation_metric": "fuzzy_match",
                  "input": "{{sample.output_text}}", "reference": "{{item.reference}}"},
    },
}  # fmt: skip
HYPERPARAMETERS: dict[str, Any] = {
    "batch_size": 2, "n_epochs": 1, "eval_interval": 2, "eval_samples": 1, "compute_multiplier": 0.5,
    "learning_rate_multiplier": 1.0, "reasoning_effort": "default",
}  # fmt: skip
# Groove's own settings: the CPU of a test is not there for a preflight.
SETTINGS = {
    "preflight": {"rows": 0},
    "evaluation": {"max_rows": 4, "samples_per_row": 1, "bootstrap_resamples": 100},
    "resources": {"device": "cpu", "cpu_cores": 1},
}
ROWS = (FOLDER / "dataset.jsonl").read_bytes().splitlines(keepends=True)


@pytest.fixture
def client(team: Team, alice: User, live: str) -> OpenAI:
    ensure_starter_model()
    return OpenAI(base_url=f"{live}/v1", api_key=make_secret(team, alice))


def wait(client: OpenAI, job: FineTuningJob, reached: Callable[[FineTuningJob], bool]) -> FineTuningJob:
    end = time.monotonic() + 240
    while not reached(job):
        assert job.status not in ("failed", "cancelled"), job.error
        assert time.monotonic() < end, job
        time.sleep(0.3)
        job = client.fine_tuning.jobs.retrieve(job.id)
    return job


def is_in(*states: str) -> Callable[[FineTuningJob], bool]:
    return lambda job: job.status in states


def upload(client: OpenAI, rows: list[bytes]) -> str:
    return client.files.create(file=("rows.jsonl", b"".join(rows)), purpose="fine-tune").id


def create(client: OpenAI, training: str, validation: str, **more: Any) -> FineTuningJob:
    return client.fine_tuning.jobs.create(
        model="groove/starter",
        training_file=training,
        validation_file=validation,
        suffix="life",
        seed=7,
        metadata={"test": "life"},
        method={
            "type": "reinforcement",
            "reinforcement": {"grader": GRADER, "hyperparameters": HYPERPARAMETERS},
        },
        extra_body={"settings": SETTINGS},
        **more,
    )


def list_steps(client: OpenAI, job: FineTuningJob) -> list[int]:
    """The steps of all metrics events, oldest first, read page by page."""
    events = list(client.fine_tuning.jobs.list_events(job.id, limit=3))
    assert len({event.id for event in events}) == len(events)
    return [event.data["step"] for event in reversed(events) if event.type == "metrics"]  # type: ignore[index]


def test_a_model_is_trained_used_up_and_deleted(client: OpenAI) -> None:
    training, validation = upload(client, ROWS[:8]), upload(client, ROWS[8:10])
    graders = client.fine_tuning.alpha.graders
    assert graders.validate(grader=GRADER).to_dict()["grader"]["type"] == "multi"  # type: ignore[arg-type,index]
    graded = graders.run(grader=GRADER, model_sample="{1}", item={"reference": "{1}"})  # type: ignore[arg-type]
    assert (graded.reward, graded.sub_rewards) == (1.0, {"kind": 1.0, "close": 1.0})

    job = create(client, training, validation)
    assert job.method
    assert job.method.to_dict()["reinforcement"] == {  # type: ignore[comparison-overlap]
        "grader": GRADER, "response_format": None, "hyperparameters": HYPERPARAMETERS,
    }  # fmt: skip
    assert [each.id for each in client.fine_tuning.jobs.list(metadata={"test": "life"})] == [job.id]
    job = wait(client, job, is_in("succeeded"))
    assert job.fine_tuned_model
    assert job.fine_tuned_model.startswith("ft:groove/starter:acme:life:")
    assert job.trained_tokens
    assert job.finished_at

    assert list_steps(client, job) == [1, 2, 3, 4]
    events = [event.message for event in client.fine_tuning.jobs.list_events(job.id, limit=100)]
    assert events[:2] == [
        "The job has successfully completed", f"New fine-tuned model created: {job.fine_tuned_model}",
    ]  # fmt: skip
    assert events[-4:] == [
        "Fine-tuning job started",
        "Files validated, moving job to queued state",
        f"Validating training file: {training} and validation file: {validation}",
        f"Created fine-tuning job: {job.id}",
    ]

    checkpoints = list(client.fine_tuning.jobs.checkpoints.list(job.id))
    assert [each.step_number for each in checkpoints] == [4, 2]
    assert all(each.metrics.to_dict()["valid_reward_mean"] is not None for each in checkpoints)
    for name in (job.fine_tuned_model, checkpoints[1].fine_tuned_model_checkpoint):
        assert client.models.retrieve(name).id == name

    for name in (job.fine_tuned_model, checkpoints[1].fine_tuned_model_checkpoint):
        ask: dict[str, Any] = {"model": name, "max_completion_tokens": 8, "temperature": 0}
        ask["messages"] = [{"role": "user", "content": "Hello"}]
        whole = client.chat.completions.create(**ask)
        parts = client.chat.completions.create(stream=True, **ask)
        assert whole.model == name
        assert (
            "".join(part.choices[0].delta.content or "" for part in parts) == whole.choices[0].message.content
        )

    content = client.files.content(job.result_files[0]).read().decode()
    table = list(csv.DictReader(io.StringIO(content)))
    assert [row["step"] for row in table] == ["1", "2", "3", "4"]
    assert table[1]["valid_reward_mean"]
    assert not table[0]["valid_reward_mean"]
    assert table[0]["scores/graders/close/train_reward_mean"]

    assert {job.fine_tuned_model, "groove/starter"} <= {each.id for each in client.models.list()}
    assert client.models.delete(job.fine_tuned_model).deleted
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve(job.fine_tuned_model)
    with pytest.raises(openai.PermissionDeniedError):
        client.models.delete("groove/starter")
    assert client.files.delete(training).deleted


def test_a_job_is_paused_resumed_and_cancelled(client: OpenAI) -> None:
    training, validation = upload(client, ROWS[:80]), upload(client, ROWS[80:82])
    job = create(client, training, validation)
    with pytest.raises(openai.BadRequestError) as refused:
        client.fine_tuning.jobs.resume(job.id)
    assert refused.value.code == "invalid_job_state"
    wait(client, job, lambda job: len(list_steps(client, job)) >= 2)
    client.fine_tuning.jobs.pause(job.id)
    job = wait(client, job, is_in("paused"))
    before = list_steps(client, job)
    assert client.fine_tuning.jobs.resume(job.id).status == "queued"
    job = wait(client, job, lambda job: len(list_steps(client, job)) > len(before) + 1)
    assert client.fine_tuning.jobs.cancel(job.id).status == "cancelled"
    assert list_steps(client, job) == list(range(1, len(list_steps(client, job)) + 1))
    checkpoint = next(iter(client.fine_tuning.jobs.checkpoints.list(job.id)))
    assert client.models.retrieve(checkpoint.fine_tuned_model_checkpoint).object == "model"
