"""The health strip: problems with evidence, threshold, remedy and example rollouts."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from tests.web.jobs.monitor.test_pages import form_data
from webapp.graders.services import create_grader
from webapp.home.sample_project import HACKABLE, create_sample_project
from webapp.jobs import recording
from webapp.jobs.launch.request import JobRequest, single_task
from webapp.jobs.launch.service import launch, validate_files
from webapp.jobs.models import Job
from webapp.jobs.queue import claim_job
from webapp.registry.services import ensure_starter_model
from webapp.teams.models import Team, User
from webapp.work import nodes
from workers.bridge.jobs.job_specs import build_job_spec
from workers.contract import events, health
from workers.contract.devices import NodeDevices
from workers.contract.spec import DataFile, DatasetFiles

SignIn = Callable[[User], Client]
STEPS = 30
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def parts(team: Team, alice: User) -> dict[str, Any]:
    dataset, grader = create_sample_project(team, alice)
    return {
        "base_model": ensure_starter_model(),
        "tasks": single_task(dataset.versions.get(), team.graders.get(name=HACKABLE).versions.get()),
        "held_out_grader": grader.versions.get(),
    }


@pytest.fixture
def running(team: Team, alice: User, parts: dict[str, Any]) -> Job:
    settings = {"grpo": {"max_steps": STEPS}, "alarm": {"pause": True, "no_signal_steps": 7}}
    job = launch(
        JobRequest(
            team=team,
            user=alice,
            name="Invoices",
            base_model=parts["base_model"],
            tasks=parts["tasks"],
            held_out_grader=parts["held_out_grader"],
            settings=settings,
        )
    )
    nodes.register_node("here", {}, NodeDevices(cpu_cores=2), {})
    validate_files(job.pk)
    claimed = claim_job("here")
    assert claimed is not None
    return claimed


def gamed(step: int) -> dict[str, float]:
    """Return metrics with a rising reward, a flat held-out reward and two tasks."""
    return {
        "reward": 0.2 + 0.02 * step, "rewards/grader/std": 0.4,
        "held_out/reward": 0.25, "held_out/reward_std": 0.4,
        "groups/no_signal_share": 0.25, "groups/informative_share": 0.75, "entropy": 0.5,
        "tasks/orders/reward": 0.3, "tasks/orders/no_signal_share": 0.5, "tasks/tickets/reward": 0.6,
    }  # fmt: skip


def rollout(index: int) -> events.Rollout:
    return events.Rollout(
        index=index, group=index // 2, row_id="r", prompt="p", completion=f"answer {index}", reward=1.0,
        advantage=0.5, length=3, truncated=False, adapter_step=0, held_out_reward=0.125 if index else None,
    )  # fmt: skip


def alarm(step: int = 20, **changes: Any) -> events.AlarmEvent:
    rule = health.BY_CODE["held_out_gap"]
    values: dict[str, Any] = {
        "message": rule.message,
        "threshold": rule.threshold,
        "remedy": rule.remedy,
        "rollouts": [1, 3],
    }
    values["evidence"] = {"trained reward now": 0.8125}
    return events.AlarmEvent(step=step, code=rule.code, **values | changes)


def report(job: Job, *told: events.Event) -> Job:
    assert recording.record_events(job.pk, job.attempt, told)
    job.refresh_from_db()
    return job


def train(job: Job, steps: int = STEPS, values: Callable[[int], dict[str, float]] = gamed) -> Job:
    told: list[events.Event] = []
    for step in range(1, steps + 1):
        told.append(events.MetricsEvent(step=step, total_steps=STEPS, values=values(step)))
        told.append(events.RolloutsEvent(step=step, rollouts=[rollout(index) for index in range(4)]))
    return report(job, *told)


def page(client: Client, job: Job, query: str = "", name: str = "") -> str:
    answer = client.get(f"{job.get_absolute_url()}{name}{query}")
    assert answer.status_code == 200
    return answer.content.decode()


# --- the strip -------------------------------------------------------------------------------------


def test_an_alarm_shows_evidence_threshold_remedy_and_links_to_its_rollouts(
    running: Job, alice: User, as_user: SignIn
) -> None:
    job = report(train(running), alarm(paused=True))
    client = as_user(alice)
    shown = page(client, job)
    rule = health.BY_CODE["held_out_gap"]
    assert rule.message in shown
    assert rule.remedy.split(". ")[0] in shown
    assert "3 checks of 5 steps in a row" in shown
    assert "trained reward now" in shown
    assert "Triggered at step 20, and paused the job" in shown
    query = "?alarm=held_out_gap&amp;step=20"
    assert query in shown
    listed = page(client, job, query.replace("&amp;", "&"), "rollouts/")
    assert ["answer 1" in listed, "answer 3" in listed] == [True, True]
    assert ["answer 0" in listed, "answer 2" in listed] == [False, False]
    assert "2 rollouts" in listed
    assert "held-out 0.125" in listed
    assert rule.message in listed


def test_the_strip_plots_numbers_and_lists_tasks(running: Job, alice: User, as_user: SignIn) -> None:
    shown = page(as_user(alice), train(running))
    for text in (
        "Informative groups",
        "75 %",
        "Held-out grader by step",
        "Reward of orders by step",
        "0.300",
    ):
        assert text in shown


def test_a_job_without_steps_says_when_health_checks_start(
    running: Job, alice: User, as_user: SignIn
) -> None:
    assert "Health checks start after the first training steps" in page(as_user(alice), running)


def test_an_alarm_stays_readable_after_it_has_ended(running: Job, alice: User, as_user: SignIn) -> None:
    job = report(train(running, values=lambda step: {"reward": 0.5, "entropy": 1.0}), alarm())
    shown = page(as_user(alice), job)
    assert "No issues detected" in shown
    assert "ended" in shown
    assert "View rollouts" in shown


def test_flat_validations_raise_the_overfitting_rule(running: Job, alice: User, as_user: SignIn) -> None:
    job = train(running, values=lambda step: gamed(step) | {"held_out/reward": 0.2 + 0.02 * step})
    mean = events.Interval(mean=0.4, low=0.3, high=0.5)
    side = events.SideSummary(
        reward=mean, pass_at_1=mean, pass_at_k={}, mean_length=3, truncated_share=0, grading_error_share=0
    )
    assert "Validation stays flat" not in page(as_user(alice), job)
    report(
        job,
        *(
            events.EvaluationEvent(
                stage="during",
                split="validation",
                step=step,
                rows=4,
                samples_per_row=2,
                base=side,
                tuned=side,
            )
            for step in (10, 20, 30)
        ),
    )
    assert "Validation stays flat" in page(as_user(alice), job)


def test_the_strip_uses_the_limits_of_the_job(running: Job, alice: User, as_user: SignIn) -> None:
    silent = train(running, 7, lambda step: {"groups/no_signal_share": 1.0, "reward": 0.0})
    assert "all groups without signal in 7 steps in a row" in page(as_user(alice), silent)


def test_names_chosen_by_users_are_escaped(running: Job, alice: User, as_user: SignIn) -> None:
    names = {f"tasks/{HOSTILE}/reward": 0.5, f"rewards/{HOSTILE}/mean": 0.5, "reward": 0.5}
    job = report(train(running, values=lambda step: names), alarm(evidence={HOSTILE: 1.0}))
    client = as_user(alice)
    assert HOSTILE not in page(client, job)
    assert HOSTILE not in page(client, job, f"?alarm={HOSTILE}", "rollouts/")


# --- recording -------------------------------------------------------------------------------------


def test_a_repeated_alarm_is_stored_once_and_deleted_on_a_rewind(running: Job) -> None:
    report(train(running), alarm(20), alarm(20), alarm(25))
    job = report(running, alarm(20))
    assert [each.step for each in job.alarms.all()] == [25, 20]
    assert job.events.filter(kind="alarm").count() == 2
    recording.begin_attempt(job.pk, job.attempt, 22)
    assert [each.step for each in job.alarms.all()] == [20]


# --- launching -------------------------------------------------------------------------------------


def test_the_held_out_grader_of_the_form_reaches_the_engine(
    team: Team, alice: User, parts: dict[str, Any], as_user: SignIn
) -> None:
    client, url = as_user(alice), f"/t/{team.slug}/jobs/new/?grader={parts['tasks'][0].grader_version.uid}"
    held_out = parts["held_out_grader"]
    chosen = {"held_out_grader": held_out.uid, "alarm__pause": "on", "alarm__no_signal_steps": "12"}
    client.post(url, form_data(client, url) | chosen)
    job = Job.objects.get()
    assert job.held_out_grader == held_out
    train = DataFile(path="train.jsonl", sha256="0" * 64, rows=3)
    spec = build_job_spec(job, DatasetFiles(sha256="0" * 64, train=train), {})
    assert (spec.alarm.pause, spec.alarm.no_signal_steps) == (True, 12)
    assert spec.alarm.grader.source == held_out.definition["source"]
    assert spec.grader.source == parts["tasks"][0].grader_version.definition["source"]
    assert str(held_out) in page(client, job, name="config/")
    again = client.get(f"/t/{team.slug}/jobs/new/?from={job.uid}")
    assert again.context["form"]["held_out_grader"].value() == held_out.uid


def test_the_training_grader_cannot_be_the_held_out_grader(
    team: Team, alice: User, parts: dict[str, Any], as_user: SignIn
) -> None:
    client, url = as_user(alice), f"/t/{team.slug}/jobs/new/?grader={parts['tasks'][0].grader_version.uid}"
    same = create_grader(team, alice, "Copy", parts["tasks"][0].grader_version.definition).versions.get()
    answer = client.post(url, form_data(client, url) | {"held_out_grader": same.uid})
    assert answer.status_code == 422
    assert "trained on" in str(answer.context["form"].errors["held_out_grader"])
    assert not Job.objects.exists()


def test_a_grader_of_another_team_is_refused(
    team: Team, alice: User, charlie: User, parts: dict[str, Any], as_user: SignIn
) -> None:
    elsewhere = charlie.memberships.get().team
    foreign = create_grader(
        elsewhere, charlie, "Theirs", parts["tasks"][0].grader_version.definition
    ).versions.get()
    client, url = as_user(alice), f"/t/{team.slug}/jobs/new/"
    answer = client.post(url, form_data(client, url) | {"held_out_grader": foreign.uid})
    assert "held_out_grader" in answer.context["form"].errors


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.00012345, "0.000123"), (1234567, "1,234,567"), (-0.5, "−0.5"), (12.0, "12"), (None, "–")],
)
def test_numbers_are_short(value: float | None, words: str) -> None:
    from webapp.core.templatetags.groove import number

    assert number(value) == words
    assert number(math.pi) == "3.14"
