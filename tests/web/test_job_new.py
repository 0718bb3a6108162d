"""The new-job page: presets that say what they do, advice, estimates, and what a clone changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from webapp.jobs import services
from webapp.jobs.models import Job
from webapp.registry.services import ensure_starter_model
from webapp.teams.models import Team, User
from webapp.teams.sample import create_sample_project
from webapp.teams.services import create_team

SignIn = Callable[[User], Client]
HX = {"HX-Request": "true"}
REPORT = {
    "verdict": "sft_first", "reason": "It is never right.", "remedy": "Train on examples first.",
    "group_size": 16, "no_signal": {"16": {"mean": 0.1}},
}  # fmt: skip


@pytest.fixture
def job(team: Team, alice: User) -> Job:
    dataset, grader = create_sample_project(team, alice)
    return services.create_job(
        team, alice, name="Invoices", settings={"grpo": {"max_steps": 30}},
        base_model=ensure_starter_model(), dataset_version=dataset.versions.get(),
        grader_version=grader.versions.get(),
    )  # fmt: skip


def sent(client: Client, url: str) -> dict[str, Any]:
    """What a browser sends when nothing is changed."""
    form = client.get(url).context["form"]
    values = {field.html_name: field.value() for field in form}
    given = {name: value for name, value in values.items() if value is not None and value is not False}
    return given | {"settings_of": values["base_model"]}


def test_a_preset_works_without_scripts_and_says_all_that_it_sets(
    team: Team, alice: User, job: Job, as_user: SignIn
) -> None:
    client, url = as_user(alice), f"/t/{team.slug}/jobs/new/"
    for preset in client.get(url).context["form"].presets:
        chosen = client.get(url, {"preset": preset.key})
        form = chosen.context["form"]
        assert {name: form[name].value() for name in preset.values} == preset.values
        assert preset.changes in chosen.content.decode()


def test_a_clone_lists_what_differs_with_the_value_to_go_back_to(
    team: Team, alice: User, job: Job, as_user: SignIn
) -> None:
    client, url = as_user(alice), f"/t/{team.slug}/jobs/new/?from={job.uid}"
    data = sent(client, url) | {"from": job.uid}
    assert client.get(url, data, headers=HX).context["changed"] == []
    mine = data | {"grpo__group_size": "16", "held_out_grader": job.grader_version.uid}
    del mine["grpo__max_steps"]
    changed = {each.field: each for each in client.get(url, mine, headers=HX).context["changed"]}
    assert changed.keys() == {"grpo__group_size", "held_out_grader", "grpo__max_steps"}
    undone = mine | {name: each.reset for name, each in changed.items()}
    assert client.get(url, undone, headers=HX).context["changed"] == []


def test_the_last_preflight_on_the_same_rows_and_grader_advises_and_only_the_own_teams(
    team: Team, alice: User, job: Job, as_user: SignIn
) -> None:
    client, url = as_user(alice), f"/t/{team.slug}/jobs/new/"
    assert client.get(url).context["advice"] is None
    Job.objects.filter(pk=job.pk).update(preflight=REPORT)
    shown = client.get(url).content.decode()
    assert "It is never right." in shown
    assert "Group size that it advises: 16" in shown
    Job.objects.filter(pk=job.pk).update(team=create_team(alice, "Others"))
    assert client.get(url).context["advice"] is None


def test_gpu_hours_are_estimated_from_steps_that_were_measured_else_said_to_be_unknown(
    team: Team, alice: User, job: Job, as_user: SignIn
) -> None:
    client, url = as_user(alice), f"/t/{team.slug}/jobs/new/"
    data = sent(client, url) | {"resources__device": "cuda", "resources__gpus": "2"}
    assert client.get(url, data, headers=HX).context["gpu_hours"] is None
    answers = job.settings["grpo"]["group_size"] * job.settings["grpo"]["prompts_per_step"]
    job.metrics.create(step=1, values={"step_time": answers * 1.0})
    wanted = {"grpo__max_steps": "9", "grpo__group_size": "10", "grpo__prompts_per_step": "20"}
    hours = client.get(url, data | wanted, headers=HX).context["gpu_hours"]
    assert hours == pytest.approx(9 * 10 * 20 * 2 / 3600)


def test_a_grader_without_a_judge_costs_nothing(team: Team, alice: User, job: Job, as_user: SignIn) -> None:
    shown = as_user(alice).get(f"/t/{team.slug}/jobs/new/").content.decode()
    assert "none: the grader asks no judge" in shown
