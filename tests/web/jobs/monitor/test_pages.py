"""The pages of jobs: launch, monitor, rollouts and actions; viewers only read."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from tests.web import comparison
from webapp.home.sample_project import create_sample_project
from webapp.jobs import recording, services
from webapp.jobs.launch.request import JobRequest, single_task, task_choices
from webapp.jobs.launch.service import launch, validate_files
from webapp.jobs.models import Job
from webapp.jobs.monitor.phases import Event as PhaseChange
from webapp.jobs.monitor.phases import sum_durations
from webapp.jobs.queue import claim_job
from webapp.jobs.states import TERMINAL, State
from webapp.registry.models import BaseModel
from webapp.registry.services import ensure_starter_model
from webapp.teams.models import Team, User
from webapp.work import nodes
from workers.contract.devices import NodeDevices
from workers.contract.events import (
    ErrorEvent,
    Event,
    LogEvent,
    MetricsEvent,
    PhaseEvent,
    Rollout,
    RolloutsEvent,
)

SignIn = Callable[[User], Client]
MOST_QUERIES = 24
STEPS, GROUPS, GROUP_SIZE = 3, 2, 2
HOSTILE = "<script>alert('x')</script> & \"quoted\""


@pytest.fixture
def project(team: Team, alice: User) -> dict[str, Any]:
    dataset, grader = create_sample_project(team, alice)
    return {
        "base_model": ensure_starter_model(),
        "tasks": single_task(dataset.versions.get(), grader.versions.get()),
    }


@pytest.fixture
def job(team: Team, alice: User, project: dict[str, Any]) -> Job:
    settings = {"grpo": {"max_steps": STEPS, "group_size": GROUP_SIZE, "prompts_per_step": GROUPS}}
    return launch(
        JobRequest(
            team=team,
            user=alice,
            name="Invoices",
            base_model=project["base_model"],
            tasks=project["tasks"],
            settings=settings,
        )
    )


def begin(job: Job) -> Job:
    nodes.register_node("here", {"torch": "2"}, NodeDevices(cpu_cores=2), {"available": True, "layers": []})
    validate_files(job.pk)
    claimed = claim_job("here")
    assert claimed is not None
    assert claimed.pk == job.pk
    return claimed


def rollout(step: int, index: int) -> Rollout:
    reward = None if index == 3 else index / 4
    return Rollout(
        index=index, group=index // GROUP_SIZE, row_id=f"row{index // GROUP_SIZE}", prompt="What is owed?",
        completion=f"{HOSTILE} {step}.{index}", reward=reward, sub_rewards={"total": reward, "currency": 1.0},
        error_class="python_grader_runtime_error" if reward is None else None,
        error_detail="ZeroDivisionError, line 2" if reward is None else None,
        advantage=None if reward is None else 0.5, length=10, truncated=index == 2, adapter_step=step - 1,
    )  # fmt: skip


def train(job: Job, **values: float) -> Job:
    """Record what a worker reports of all steps."""
    report: list[Event] = [PhaseEvent(phase="train"), LogEvent(message=HOSTILE, level="warning")]
    for step in range(1, STEPS + 1):
        measured = {"reward": step / 10, "step_time": 2.0} | values
        report.append(MetricsEvent(step=step, total_steps=STEPS, values=measured))
        rollouts = [rollout(step, index) for index in range(GROUPS * GROUP_SIZE)]
        report.append(RolloutsEvent(step=step, rollouts=rollouts))
    assert recording.record_events(job.pk, job.attempt, report)
    job.refresh_from_db()
    return job


def text_of(client: Client, url: str, query: dict[str, Any] | None = None) -> str:
    answer = client.get(url, query or {})
    assert answer.status_code == 200
    return answer.content.decode()


def page_of(job: Job, name: str = "") -> str:
    return f"{job.get_absolute_url()}{name}"


def form_data(client: Client, url: str) -> dict[str, Any]:
    """The data that a browser sends if the user changes nothing."""
    form = client.get(url).context["form"]
    rows = [
        part for formset in (form.task_rows, form.suite_rows) for part in (formset.management_form, *formset)
    ]
    values = {field.html_name: field.value() for part in (form, *rows) for field in part}
    sent = {name: value for name, value in values.items() if value is not None and value is not False}
    return sent | {"settings_of": values["base_model"]}


# --- launching -------------------------------------------------------------------------------------


def test_from_the_sample_project_one_click_launches(
    team: Team, alice: User, project: dict[str, Any], as_user: SignIn
) -> None:
    client, url = as_user(alice), f"/t/{team.slug}/jobs/new/"
    answer = client.post(url, form_data(client, url))
    job = Job.objects.get()
    assert answer.headers["Location"] == job.get_absolute_url()
    assert job.base_model == project["base_model"]
    assert task_choices(job) == project["tasks"]
    advised = project["base_model"].settings["grpo"]
    assert {name: getattr(job.settings.grpo, name) for name in advised} == advised


def test_a_setting_out_of_bounds_is_explained_at_its_field_and_not_launched(
    team: Team, alice: User, project: dict[str, Any], as_user: SignIn
) -> None:
    client, url = as_user(alice), f"/t/{team.slug}/jobs/new/"
    data = form_data(client, url)
    for wrong in ({"grpo__temperature": "7"}, {"grpo__learning_rate": "0"}, {"resources__device": "cuda"}):
        answer = client.post(url, data | wrong)
        assert answer.status_code == 422
        assert set(answer.context["form"].errors) & {*wrong, "__all__"}
    assert not Job.objects.exists()


def test_a_clone_has_the_same_settings_and_shows_later_differences(
    alice: User, job: Job, as_user: SignIn
) -> None:
    client, url = as_user(alice), f"/t/{job.team.slug}/jobs/new/?from={job.uid}"
    assert "No setting differs" in text_of(client, url)
    client.post(url, form_data(client, url) | {"grpo__learning_rate": "0.003"})
    clone = Job.objects.get(cloned_from=job)
    assert clone.settings.grpo == job.settings.grpo.model_copy(update={"learning_rate": 0.003})
    shown = text_of(client, page_of(clone, "config/"))
    assert "grpo.learning_rate" in shown
    assert "0.003" in shown
    assert "grpo.beta</code>" not in shown


def test_the_estimate_follows_the_form(team: Team, alice: User, job: Job, as_user: SignIn) -> None:
    """Earlier steps took 2 s for 4 completions, so 10 steps of 8 take about 40 s."""
    client, url = as_user(alice), f"/t/{team.slug}/jobs/new/"
    assert "no job on this base model has trained here yet" in text_of(client, url)
    train(begin(job))
    data = form_data(client, url) | {
        "grpo__max_steps": "10",
        "grpo__group_size": "4",
        "grpo__prompts_per_step": "2",
        "evaluation__every": "0",
    }
    answer = client.get(url, data, headers={"HX-Request": "true"})
    estimate = answer.context["estimate"]
    assert estimate.phases["train"] == pytest.approx(40)
    assert "<li>Train: 40 s</li>" in answer.text
    assert estimate.seconds > 70


def test_another_base_model_changes_the_settings(
    team: Team, alice: User, project: dict[str, Any], as_user: SignIn
) -> None:
    other = BaseModel.objects.create(team=team, model_id="big", settings={"grpo": {"learning_rate": 4e-6}})
    client, url = as_user(alice), f"/t/{team.slug}/jobs/new/"
    data = form_data(client, url) | {"name": "Mine"}
    changed = client.get(url, data | {"base_model": other.uid}, headers={"HX-Request": "true"})
    assert 'value="4e-06"' in changed.content.decode()
    same = client.get(url, data, headers={"HX-Request": "true"})
    assert 'id="settings"' not in same.content.decode()


# --- monitoring ------------------------------------------------------------------------------------


def test_a_queued_job_shows_its_position_and_what_it_waits_for(
    alice: User, job: Job, as_user: SignIn
) -> None:
    client = as_user(alice)
    validate_files(job.pk)
    assert "No worker is online" in text_of(client, page_of(job))
    nodes.register_node("small", {}, NodeDevices(cpu_cores=0), {})
    assert "has the devices this job asks for" in text_of(client, page_of(job))
    nodes.register_node("big", {}, NodeDevices(cpu_cores=8), {})
    shown = text_of(client, page_of(job))
    assert "First in the queue." in shown
    assert "Starting…" in shown
    job.refresh_from_db()
    running = launch(
        JobRequest(
            team=job.team,
            user=alice,
            name="Other",
            base_model=job.base_model,
            tasks=single_task(job.dataset_version, job.grader_version),
            settings={"resources": {"cpu_cores": 8}},
        )
    )
    Job.objects.filter(pk=running.pk).update(
        state=State.RUNNING, node=nodes.find_online().get(name="big"), devices={"cpu_cores": 8, "gpus": []}
    )
    assert "Workers that fit are busy with other jobs or exports." in text_of(client, page_of(job))


def test_after_a_reload_the_stream_continues_from_the_page(alice: User, job: Job, as_user: SignIn) -> None:
    job = train(begin(job))
    client = as_user(alice)
    last = job.events.order_by("-pk").values_list("pk", flat=True)[0]
    assert f"stream/?after={last}" in text_of(client, page_of(job))
    metrics = client.get(page_of(job, "metrics/")).json()
    assert metrics["steps"] == [1, 2, 3]
    assert metrics["series"]["reward"] == [0.1, 0.2, 0.3]


def test_the_stepper_sums_each_phase_over_all_attempts() -> None:
    start = timezone.now()

    def at(seconds: int, kind: str, **data: str) -> PhaseChange:
        return start + timedelta(seconds=seconds), kind, data

    events = [
        at(0, "state", state="running"),
        at(2, "phase", phase="prepare"),
        at(5, "phase", phase="train"),
        at(15, "state", state="paused"),
        at(100, "phase", phase="prepare"),
        at(101, "phase", phase="train"),
    ]
    assert sum_durations(events, start + timedelta(seconds=111)) == {"prepare": 4.0, "train": 20.0}


def test_a_failed_job_shows_where_it_stopped(alice: User, job: Job, as_user: SignIn) -> None:
    job = train(begin(job))
    Job.objects.filter(pk=job.pk).update(state=State.FAILED, phase="train")
    steps = as_user(alice).get(page_of(job)).context["steps"]
    assert [step.status for step in steps] == ["done", "done", "stopped here", "to come", "to come"]


def test_a_relaunch_can_replace_the_job(alice: User, job: Job, as_user: SignIn) -> None:
    client, url = as_user(alice), f"/t/{job.team.slug}/jobs/new/?from={job.uid}&replace"
    shown = text_of(client, url)
    assert "When the new job is launched:" in shown
    assert not re.search(r'name="replace"[^>]*checked', shown), "no option is preselected"
    answer = client.post(url, form_data(client, url))
    assert answer.status_code == 422
    assert "choose what happens to the other job" in answer.text
    client.post(url, form_data(client, url) | {"replace": "cancel", "grpo__learning_rate": "0"})
    job.refresh_from_db()
    assert job.state not in TERMINAL, "a form with mistakes cancels nothing"
    answer = client.post(url, form_data(client, url) | {"replace": "cancel"}, follow=True)
    job.refresh_from_db()
    assert job.state == State.CANCELLED
    assert f"Cancelled “{job.name}”." in answer.text
    assert Job.objects.get(cloned_from=job).name == f"{job.name} 2"


def test_a_clone_of_a_live_job_cancels_nothing_unless_asked(alice: User, job: Job, as_user: SignIn) -> None:
    client, url = as_user(alice), f"/t/{job.team.slug}/jobs/new/?from={job.uid}"
    assert re.search(r'value="keep"[^>]*checked', text_of(client, url))
    client.post(url, form_data(client, url))
    job.refresh_from_db()
    assert job.state not in TERMINAL
    assert Job.objects.filter(cloned_from=job).exists()
    services.request_cancel(job, alice)
    assert "When the new job is launched:" not in text_of(client, url)


def test_a_partial_request_returns_only_its_part(alice: User, job: Job, as_user: SignIn) -> None:
    job, client = train(begin(job)), as_user(alice)
    for part, has, lacks in (
        ("job-actions", "Cancel job", "<html"),
        ("job-head", "Phases", "Cancel job"),
        ("job-lines", "Latest log lines", "Phases"),
        ("job-evaluations", "held-out rows", "Phases"),
    ):
        headers = {"HX-Request": "true", "HX-Target": part}
        shown = client.get(job.get_absolute_url(), headers=headers).content.decode()
        assert f'id="{part}"' in shown
        assert has in shown
        assert lacks not in shown


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"entropy": 1.0, "groups/no_signal_share": 0.2}, "No issues detected"),
        ({"entropy": 0.001}, "Entropy is nearly 0"),
        ({"groups/no_signal_share": 0.9}, "Most groups have equal rewards"),
        ({"completions/truncated_share": 0.3}, "cut at the length limit"),
        ({"grading/missing_share": 0.2}, "grader fails"),
    ],
)
def test_problems_are_explained_on_the_page(
    alice: User, job: Job, as_user: SignIn, values: dict[str, float], words: str
) -> None:
    assert words in text_of(as_user(alice), page_of(train(begin(job), **values)))


def test_a_failure_shows_cause_remedy_and_detail(alice: User, job: Job, as_user: SignIn) -> None:
    job = begin(job)
    error = ErrorEvent(code="x", message="It broke.", remedy="Replace it.", detail="line 7")
    recording.record_events(job.pk, job.attempt, [error])
    shown = text_of(as_user(alice), page_of(job))
    assert all(part in shown for part in ("It broke.", "Replace it.", "line 7"))


def test_metrics_can_be_downloaded_as_csv(alice: User, job: Job, as_user: SignIn) -> None:
    answer = as_user(alice).get(page_of(train(begin(job)), "metrics/"), {"format": "csv"})
    rows = list(csv.reader(io.StringIO(comparison.body(answer).decode())))
    assert rows[0] == ["step", "reward", "step_time"]
    assert rows[1:] == [
        ["1", "0.1", "2.0"],
        ["2", "0.2", "2.0"],
        ["3", "0.3", "2.0"],
    ]


def test_the_log_can_be_filtered_for_problems(alice: User, job: Job, as_user: SignIn) -> None:
    job, client = train(begin(job)), as_user(alice)
    assert "Phase: Train" in text_of(client, page_of(job, "log/"))
    problems = text_of(client, page_of(job, "log/"), {"level": "problems"})
    assert "Phase: Train" not in problems
    assert "&lt;script&gt;" in problems


# --- actions ---------------------------------------------------------------------------------------


def test_an_editor_pauses_resumes_and_cancels(alice: User, job: Job, as_user: SignIn) -> None:
    job, client = begin(job), as_user(alice)
    client.post(page_of(job, "pause/"))
    job.refresh_from_db()
    assert job.stop_requested == "pause"
    assert "Pausing…" in text_of(client, page_of(job))
    Job.objects.filter(pk=job.pk).update(state=State.PAUSED)
    client.post(page_of(job, "resume/"))
    job.refresh_from_db()
    assert job.state == State.QUEUED
    client.post(page_of(job, "cancel/"))
    again = client.post(page_of(job, "pause/"), follow=True)
    assert "cannot be paused" in again.content.decode()


def test_a_viewer_sees_everything_and_has_no_buttons(bob: User, job: Job, as_user: SignIn) -> None:
    job, client = train(begin(job)), as_user(bob)
    shown = text_of(client, page_of(job))
    assert not any(f"/{verb}/" in shown for verb in ("pause", "cancel", "resume"))
    assert "Clone" not in shown
    assert "New job" not in text_of(client, f"/t/{job.team.slug}/jobs/")


# --- all pages -------------------------------------------------------------------------------------

PAGES = ["", "rollouts/", "rollouts/1/0/", "log/", "config/", "metrics/"]


def test_texts_of_users_and_models_are_escaped(alice: User, job: Job, as_user: SignIn) -> None:
    Job.objects.filter(pk=job.pk).update(name=HOSTILE)
    job, client = train(begin(job)), as_user(alice)
    for url in [*(page_of(job, page) for page in PAGES), f"/t/{job.team.slug}/jobs/"]:
        shown = text_of(client, url)
        assert "<script>alert" not in shown or client.get(url).headers["Content-Type"] == "application/json"
        assert "&amp;amp;" not in shown
        assert "&amp;lt;" not in shown


def test_no_page_of_jobs_needs_many_queries(
    team: Team, alice: User, job: Job, as_user: SignIn, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    client = as_user(alice)
    train(begin(job))
    rows = [comparison.row("r", [comparison.sample(0.5, "a")], [comparison.sample(1.0, "b")])]
    comparison.compare(job, rows)
    pages = [page_of(job, page) for page in PAGES] + [
        f"/t/{team.slug}/jobs/{page}" for page in ("", "new/", "workers/")
    ]
    for url in pages:
        with django_assert_max_num_queries(MOST_QUERIES):
            text_of(client, url)


def test_the_list_takes_as_many_queries_for_ten_jobs_as_for_one(
    team: Team, alice: User, job: Job, as_user: SignIn
) -> None:
    client, url = as_user(alice), f"/t/{team.slug}/jobs/"
    train(begin(job))

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            text_of(client, url)
        return len(captured)

    queries()
    before = queries()
    for number in range(9):
        job.pk, job.uid = None, f"ftjob-{number}"
        job.save(force_insert=True)
    assert queries() == before
