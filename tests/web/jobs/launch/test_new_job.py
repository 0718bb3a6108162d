"""The new-job page: presets that say what they do, advice, estimates, and what a clone changes."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from tests.web.preflight_report import REPORT
from webapp.home.sample_project import create_sample_project
from webapp.jobs.launch.request import JobRequest, single_task
from webapp.jobs.launch.service import launch, validate_files
from webapp.jobs.models import Job
from webapp.registry.models import BaseModel
from webapp.registry.services import ensure_starter_model
from webapp.teams.models import Team, User
from webapp.teams.services import create_team
from webapp.work import nodes
from workers.contract.devices import NodeDevices

SignIn = Callable[[User], Client]
HX = {"HX-Request": "true"}
ADVICE = REPORT | {
    "reason": "It is never right.", "group_size": 16,
    "no_signal": {"16": {"mean": 0.1, "low": None, "high": None}},
}  # fmt: skip


@pytest.fixture
def job(team: Team, alice: User) -> Job:
    dataset, grader = create_sample_project(team, alice)
    return launch(
        JobRequest(
            team=team,
            user=alice,
            name="Invoices",
            settings={"grpo": {"max_steps": 30}},
            base_model=ensure_starter_model(),
            tasks=single_task(dataset.versions.get(), grader.versions.get()),
        )
    )


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
    Job.objects.filter(pk=job.pk).update(preflight=ADVICE)
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
    answers = job.settings.grpo.group_size * job.settings.grpo.prompts_per_step
    job.metrics.create(step=1, values={"step_time": answers * 1.0})
    wanted = {"grpo__max_steps": "9", "grpo__group_size": "10", "grpo__prompts_per_step": "20"}
    context = client.get(url, data | wanted | {"evaluation__every": "0"}, headers=HX).context
    assert context["estimate"].phases["train"] == pytest.approx(9 * 10 * 20)
    assert context["gpu_hours"] == pytest.approx(context["estimate"].seconds * 2 / 3600)


def test_a_grader_without_a_judge_costs_nothing(team: Team, alice: User, job: Job, as_user: SignIn) -> None:
    shown = as_user(alice).get(f"/t/{team.slug}/jobs/new/").content.decode()
    assert "Not required" in shown


def test_the_same_form_sent_twice_launches_one_job(
    team: Team, alice: User, job: Job, as_user: SignIn
) -> None:
    client, url = as_user(alice), f"/t/{team.slug}/jobs/new/"
    data = sent(client, url)
    first, second = client.post(url, data), client.post(url, data | {"grpo__group_size": "16"})
    launched = Job.objects.exclude(pk=job.pk).get()
    assert first.headers["Location"] == second.headers["Location"] == launched.get_absolute_url()
    assert "was sent before" in client.get(launched.get_absolute_url()).text
    client.post(url, sent(client, url))
    assert Job.objects.count() == 3, "a fresh form launches another"


def test_every_setting_stands_on_the_form_once(team: Team, alice: User, job: Job, as_user: SignIn) -> None:
    page = as_user(alice).get(f"/t/{team.slug}/jobs/new/")
    form, text = page.context["form"], page.text
    assert {name: text.count(f' name="{name}"') for name in form.fields} == dict.fromkeys(form.fields, 1)


def test_the_marked_preset_is_the_one_whose_values_the_form_holds(
    team: Team, alice: User, job: Job, as_user: SignIn
) -> None:
    client, url = as_user(alice), f"/t/{team.slug}/jobs/new/"

    def marked(page: Any) -> list[str]:
        return re.findall(r'id="preset-(\w+)"(?=[^>]*aria-current)', page.text)

    assert marked(client.get(url)) == ["standard"]
    assert marked(client.get(url, {"preset": "thorough"})) == ["thorough"]
    data = sent(client, url)
    assert marked(client.get(url, data, headers=HX)) == ["standard"]
    assert marked(client.get(url, data | {"evaluation__max_rows": "3"}, headers=HX)) == []


def test_presets_stay_the_same_whatever_the_cloned_job_has(
    team: Team, alice: User, job: Job, as_user: SignIn
) -> None:
    """A clone of a clone with "Thorough" would otherwise train nine times as long."""
    client, url = as_user(alice), f"/t/{team.slug}/jobs/new/"

    def values(query: str) -> dict[str, Any]:
        return {preset.key: preset.values for preset in client.get(url + query).context["form"].presets}

    plain = values("")
    assert values(f"?from={job.uid}") == plain
    assert values(f"?from={job.uid}&preset=thorough") == plain
    form = client.get(f"{url}?from={job.uid}&preset=thorough").context["form"]
    assert {name: form[name].value() for name in plain["thorough"]} == plain["thorough"]


def test_presets_and_estimate_name_the_same_steps(team: Team, alice: User, job: Job, as_user: SignIn) -> None:
    """No steps are stated, so that the epochs say how many there are."""
    BaseModel.objects.update(settings={})
    page = as_user(alice).get(f"/t/{team.slug}/jobs/new/")
    quick, standard, thorough = page.context["form"].presets
    steps = page.context["steps"]
    assert standard.values["grpo__max_steps"] is None
    assert standard.changes.startswith(f"{steps} steps")
    assert (quick.steps, thorough.steps) == (steps // 3, 3 * steps)


def test_another_base_model_replaces_only_what_nobody_changed_and_there_is_a_way_back(
    team: Team, alice: User, job: Job, as_user: SignIn
) -> None:
    recommended = {"grpo": {"learning_rate": 4e-6, "beta": 0.5}, "lora": {"rank": 4}}
    other = BaseModel.objects.create(team=team, model_id="big", settings=recommended)
    client, url = as_user(alice), f"/t/{team.slug}/jobs/new/"
    started = sent(client, url)
    mine = started | {"lora__rank": "7", "grpo__epsilon": "much", "name": "Mine", "alarm__pause": "on"}
    page = client.get(url, mine | {"base_model": other.uid}, headers=HX)
    form, text = page.context["form"], page.text
    held = {name: str(form[name].value()) for name in form.fields}
    assert (held["grpo__learning_rate"], held["grpo__beta"]) == ("4e-06", "0.5")
    assert (held["lora__rank"], held["grpo__epsilon"], held["alarm__pause"]) == ("7", "much", "True")
    assert "taken from big" in text
    assert {"Rank", "Epsilon", "Pause on signs of reward hacking"} == set(page.context["kept"])
    assert f'data-value="{started["base_model"]}"' in text
    sent_on = {field.html_name: field.value() for field in form if field.value() not in (None, False)}
    back = sent_on | {"base_model": started["base_model"], "settings_of": other.uid}
    again = client.get(url, back, headers=HX).context["form"]
    assert str(again["grpo__learning_rate"].value()) == str(started["grpo__learning_rate"])
    assert again["lora__rank"].value() == "7"


def test_before_the_launch_it_says_which_workers_fit_who_is_ahead_and_the_limit(
    team: Team, alice: User, job: Job, as_user: SignIn
) -> None:
    client, url = as_user(alice), f"/t/{team.slug}/jobs/new/"
    assert "No worker is online" in client.get(url).text
    nodes.register_node("small", {}, NodeDevices(cpu_cores=2), {})
    validate_files(job.pk)
    Team.objects.filter(pk=team.pk).update(max_running_jobs=3)
    shown = client.get(url).text
    assert "1 matching worker online: small" in shown
    assert "1 job ahead of it in the queue" in shown
    assert "0 of at most 3 jobs" in shown
    more = sent(client, url) | {"resources__cpu_cores": "3"}
    assert "has the devices this job asks for" in client.get(url, more, headers=HX).text


def test_the_estimate_of_memory_follows_rank_group_and_lengths(
    team: Team, alice: User, job: Job, as_user: SignIn
) -> None:
    client, url = as_user(alice), f"/t/{team.slug}/jobs/new/"
    data = sent(client, url)

    def needed(**changed: str) -> int:
        memory = client.get(url, data | changed, headers=HX).context["memory"]
        return int(memory.peak)

    usual = needed()
    assert usual < needed(lora__rank="128")
    assert usual < needed(grpo__group_size="32", grpo__prompts_per_step="128")
    assert usual < needed(grpo__prompts_per_step="128", grpo__max_completion_length="900")
    elsewhere = BaseModel.objects.create(team=team, model_id="elsewhere/unknown")
    page = client.get(url, data | {"base_model": elsewhere.uid}, headers=HX)
    assert "files are not on this machine" in page.text


def test_money_is_shown_only_where_a_price_is_set(
    team: Team, alice: User, job: Job, as_user: SignIn, settings: Any
) -> None:
    client, url = as_user(alice), f"/t/{team.slug}/jobs/new/"
    answers = job.settings.grpo.group_size * job.settings.grpo.prompts_per_step
    job.metrics.create(step=1, values={"step_time": answers * 1.0})
    data = sent(client, url) | {
        "resources__device": "cuda", "resources__gpus": "2", "grpo__max_steps": "9",
        "grpo__group_size": "10", "grpo__prompts_per_step": "20",
    }  # fmt: skip
    settings.GPU_HOUR_PRICE = None
    assert client.get(url, data, headers=HX).context["gpu_cost"] is None
    settings.GPU_HOUR_PRICE = 2.5
    page = client.get(url, data, headers=HX)
    assert page.context["gpu_cost"] == pytest.approx(page.context["gpu_hours"] * 2.5)
    assert "at 2.5 an hour" in page.text


def test_settings_in_the_url_fill_the_form(team: Team, alice: User, as_user: SignIn, job: Job) -> None:
    sent = {
        "grpo__epochs": "3",
        "seed": "7",
        "grpo__group_size": "-1",
        "grpo__loss_type": "dapo",
        "x__y": "1",
    }
    form = as_user(alice).get(f"/t/{team.slug}/jobs/new/", sent).context["form"]
    assert (form["grpo__epochs"].value(), form["seed"].value()) == (3, 7)
    assert form["grpo__group_size"].value() > 1, "a value that the spec refuses is left out"
