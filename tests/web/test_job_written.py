"""What made a job can be taken along: as JSON, as YAML and as a call of OpenAI's SDK."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
import yaml
from django.test import Client
from openai import OpenAI

from webapp.jobs import services, written
from webapp.jobs.models import Job
from webapp.registry.services import ensure_starter_model
from webapp.teams.models import Team, User
from webapp.teams.sample import create_sample_project

SignIn = Callable[[User], Client]
SETTINGS = {
    "grpo": {"max_steps": 7, "group_size": 4, "prompts_per_step": 3, "learning_rate": 0.0003},
    "evaluation": {"every": 0, "validation_samples_per_row": 2},
    "seed": 11,
}


@pytest.fixture
def job(team: Team, alice: User) -> Job:
    dataset, grader = create_sample_project(team, alice)
    return services.create_job(
        team, alice, name="Invoices \N{EM DASH} \"one\"", settings=SETTINGS,
        base_model=ensure_starter_model(), dataset_version=dataset.versions.get(),
        grader_version=grader.versions.get(),
    )  # fmt: skip


def sent_by(code: str) -> dict[str, Any]:
    """The request that the code makes with the real SDK."""
    bodies: list[dict[str, Any]] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        bodies.append(json.loads(request.content))
        return httpx2.Response(200, json={"id": "ftjob-1", "object": "fine_tuning.job"})

    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    client = OpenAI(api_key="key", base_url="http://groove.test/v1", http_client=http)
    exec(code.replace("OpenAI()", "given"), {"given": client})
    return bodies[0]


def settings_in(body: dict[str, Any]) -> dict[str, Any]:
    """The complete settings that a request asks for."""
    given: dict[str, Any] = body["groove"]["settings"] | {"seed": body["seed"]}
    for name, value in body["method"]["reinforcement"]["hyperparameters"].items():
        section, key = written.HYPERPARAMETERS[name]
        given.setdefault(section, {})[key] = value
    return services.checked_settings(given)


def test_the_sdk_call_asks_for_the_same_job(job: Job) -> None:
    body = sent_by(written.sdk_call(job))
    assert settings_in(body) == job.settings
    assert body["model"] == job.base_model.model_id
    assert body["training_file"] == job.dataset_version.uid
    assert body["method"]["reinforcement"]["grader"] == job.grader_version.definition
    assert body["groove"]["name"] == job.name


def test_json_and_yaml_say_the_same_and_each_is_copied_by_a_button(
    job: Job, alice: User, as_user: SignIn
) -> None:
    answer = as_user(alice).get(f"{job.get_absolute_url()}config/")
    texts = {each.key: each.text for each in answer.context["writings"]}
    assert json.loads(texts["json"]) == yaml.safe_load(texts["yaml"])
    assert json.loads(texts["json"])["grpo"] == job.settings["grpo"]
    assert answer.content.decode().count("data-copy=") >= len(texts)


def test_a_stranger_sees_no_settings(job: Job, charlie: User, as_user: SignIn) -> None:
    assert as_user(charlie).get(f"{job.get_absolute_url()}config/").status_code == 404
