"""A job's configuration as JSON and as YAML."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import yaml
from django.test import Client

from webapp.home.sample_project import create_sample_project
from webapp.jobs.launch.request import JobRequest, single_task
from webapp.jobs.launch.service import launch
from webapp.jobs.models import Job
from webapp.registry.services import ensure_starter_model
from webapp.teams.models import Team, User

SignIn = Callable[[User], Client]
SETTINGS = {
    "grpo": {"max_steps": 7, "group_size": 4, "prompts_per_step": 3, "learning_rate": 0.0003},
    "evaluation": {"every": 0, "validation_samples_per_row": 2},
    "seed": 11,
}


@pytest.fixture
def job(team: Team, alice: User) -> Job:
    dataset, grader = create_sample_project(team, alice)
    return launch(
        JobRequest(
            team=team,
            user=alice,
            name='Invoices \N{EM DASH} "one"',
            settings=SETTINGS,
            base_model=ensure_starter_model(),
            tasks=single_task(dataset.versions.get(), grader.versions.get()),
        )
    )


def test_json_and_yaml_are_equal_and_have_copy_buttons(job: Job, alice: User, as_user: SignIn) -> None:
    answer = as_user(alice).get(f"{job.get_absolute_url()}config/")
    texts = {each.key: each.text for each in answer.context["exports"]}
    assert json.loads(texts["json"]) == yaml.safe_load(texts["yaml"])
    assert json.loads(texts["json"])["grpo"] == job.settings.grpo.model_dump(mode="json")
    assert answer.content.decode().count("data-copy=") >= len(texts)
    assert texts.keys() == {"sdk", "curl", "json", "yaml"}


def test_a_stranger_sees_no_settings(job: Job, charlie: User, as_user: SignIn) -> None:
    assert as_user(charlie).get(f"{job.get_absolute_url()}config/").status_code == 404
