"""A job is played in an environment: chosen for its tasks, checked at the launch, written into the spec."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from tests.api.conftest import call, secret  # noqa: F401 -- fixtures
from webapp.environments.findings import Finding
from webapp.environments.models import EnvironmentInspection, EnvironmentVersion
from webapp.environments.services import create_environment, request_task_dataset
from webapp.graders.models import GraderVersion
from webapp.graders.services import find_or_create_version
from webapp.home.sample_project import create_sample_project
from webapp.jobs.errors import SettingsInvalid
from webapp.jobs.launch.request import JobRequest, TaskChoice
from webapp.jobs.launch.service import launch
from webapp.jobs.models import Job
from webapp.jobs.monitor.config_export import describe_job
from webapp.registry.services import ensure_starter_model
from webapp.teams.models import Team, User
from workers.bridge.environments import inspect_environment, make_task_dataset
from workers.bridge.graders.checks import run_check
from workers.bridge.jobs.job_specs import build_job_spec
from workers.bridge.jobs.task_files import build_task_specs
from workers.contract.spec import DatasetFiles
from workers.environments.examples import list_examples

SignIn = Callable[[User], Client]
FILE = {"path": "train.jsonl", "sha256": "0" * 64, "rows": 1}


@pytest.fixture
def task(team: Team, alice: User) -> TaskChoice:
    """The tasks of an environment that was checked, with the grader of its reward."""
    ensure_starter_model()
    version = create_environment(team, alice, "Numbers", list_examples()[0].source).versions.get()
    inspect_environment(version.inspection.pk)
    made = request_task_dataset(version, alice, 20)
    make_task_dataset(made.pk)
    made.refresh_from_db()
    assert made.dataset_version, made.error
    grader = GraderVersion.objects.get(grader__name="Environment reward")
    return TaskChoice("", made.dataset_version, grader, environment_version=version)


def request(team: Team, alice: User, *tasks: TaskChoice) -> JobRequest:
    return JobRequest(team, alice, "Play", ensure_starter_model(), tasks, {})


def refusal(team: Team, alice: User, task: TaskChoice) -> dict[str, str]:
    with pytest.raises(SettingsInvalid) as caught:
        launch(request(team, alice, task))
    return caught.value.errors


def with_inspection(version: EnvironmentVersion | None, **values: Any) -> None:
    EnvironmentInspection.objects.filter(version=version).update(**values)


def test_the_form_chooses_environment_and_grader_for_rows_made_of_its_tasks(
    team: Team, alice: User, task: TaskChoice, as_user: SignIn
) -> None:
    sample, _ = create_sample_project(team, alice)
    client, url = as_user(alice), f"/t/{team.slug}/jobs/new/"
    page = client.get(url, {"dataset": task.dataset_version.uid})
    form = page.context["form"]
    assert task.environment_version
    assert form["environment_version"].value() == task.environment_version.uid
    assert form["grader_version"].value() == task.grader_version.uid
    assert page.context["grader_findings"] == []
    values = {field.html_name: field.value() for field in form}
    filled = {name: value for name, value in values.items() if value is not None and value is not False}
    sent = client.post(url, filled)
    assert sent.status_code == 302, sent.context["form"].errors
    job = Job.objects.get()
    assert job.environment_version == task.environment_version
    shown = client.get(job.get_absolute_url()).content.decode()
    assert "Numbers v1" in shown
    assert task.environment_version.get_absolute_url() in shown
    clone = client.get(url, {"from": job.uid}).context["form"]
    assert clone["environment_version"].value() == task.environment_version.uid
    other = client.get(url, {"dataset": sample.versions.get().uid})
    assert other.context["form"]["environment_version"].value() is None
    assert other.context["form"]["grader_version"].value() != task.grader_version.uid


def test_the_spec_and_the_configuration_name_the_environment(
    team: Team, alice: User, task: TaskChoice
) -> None:
    job = launch(request(team, alice, task))
    assert task.environment_version
    files = DatasetFiles.model_validate({"sha256": "0" * 64, "train": FILE})
    spec = build_job_spec(job, files, {})
    assert spec.environment
    assert spec.environment.source == task.environment_version.source
    assert describe_job(job)["environment"] == {
        "version": "Numbers v1",
        "sha256": task.environment_version.sha256,
    }


def test_one_of_several_tasks_has_an_environment(team: Team, alice: User, task: TaskChoice) -> None:
    dataset, grader = create_sample_project(team, alice)
    single = TaskChoice("invoices", dataset.versions.get(), grader.versions.get())
    played = TaskChoice(
        "numbers", task.dataset_version, task.grader_version, environment_version=task.environment_version
    )
    specs = build_task_specs(launch(request(team, alice, single, played)))
    assert specs["invoices"].environment is None
    assert specs["numbers"].environment


def test_a_launch_is_refused_where_the_rows_cannot_be_played(
    team: Team, alice: User, task: TaskChoice
) -> None:
    rows, grader, version = task.dataset_version, task.grader_version, task.environment_version
    without = refusal(team, alice, TaskChoice("", rows, grader))
    assert "choose the environment" in without["environment_version"]
    dataset, other = create_sample_project(team, alice)
    invoices = TaskChoice("", dataset.versions.get(), other.versions.get(), environment_version=version)
    assert "rows without seed" in refusal(team, alice, invoices)["environment_version"]
    finding = Finding(kind="error", title="Equal calls give equal results", remedy="Use no time.")
    assert task.environment_version
    inspection = EnvironmentInspection.objects.get(version=version)
    assert inspection.found
    with_inspection(version, found=inspection.found.model_copy(update={"findings": [finding]}))
    error = refusal(team, alice, task)["environment_version"]
    assert "Equal calls give equal results. Use no time." in error
    with_inspection(version, state="queued")
    assert "still being checked" in refusal(team, alice, task)["environment_version"]


def test_the_api_takes_an_environment_and_shows_it_again(
    team: Team,
    alice: User,
    task: TaskChoice,
    call: Callable[..., Any],  # noqa: F811
) -> None:
    assert task.environment_version
    reinforcement = {"grader": {"type": "environment"}, "environment": task.environment_version.uid}
    body = {
        "model": "groove/starter",
        "training_file": task.dataset_version.uid,
        "method": {"type": "reinforcement", "reinforcement": reinforcement},
    }
    made = call("POST", "/fine_tuning/jobs", body)
    assert made.status_code == 200, made.content
    assert made.json()["method"]["reinforcement"]["environment"] == task.environment_version.uid
    assert Job.objects.get().environment_version == task.environment_version
    reinforcement["environment"] = "env_unknown"
    refused = call("POST", "/fine_tuning/jobs", body)
    assert (refused.status_code, refused.json()["error"]["param"]) == (
        400,
        "method.reinforcement.environment",
    )


def test_a_grader_of_the_environments_reward_is_not_tested_with_texts(team: Team, alice: User) -> None:
    create_sample_project(team, alice)
    version = find_or_create_version(team, alice, {"type": "environment"})
    run_check(version.check_run.pk)
    version.check_run.refresh_from_db()
    assert version.check_run.findings == [("success", "checked")]
