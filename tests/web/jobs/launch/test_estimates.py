"""Estimates cover the whole job, follow what earlier jobs took, and are compared with the outcome."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from tests.web.jobs.launch.test_preflight import REPORT
from tests.web.site.test_live_pages import Clock
from webapp.home.sample_project import create_sample_project
from webapp.jobs import recording
from webapp.jobs.launch import estimates
from webapp.jobs.launch.request import JobRequest, SuiteChoice, TaskChoice
from webapp.jobs.launch.service import launch as launch_job
from webapp.jobs.launch.service import validate_files
from webapp.jobs.models import Job
from webapp.jobs.monitor import preflight
from webapp.jobs.queue import claim_job
from webapp.jobs.states import State
from webapp.jobs.transitions import change_state
from webapp.registry.services import ensure_starter_model
from webapp.teams.models import Team, User
from webapp.work import nodes
from workers.contract.devices import NodeDevices
from workers.contract.events import Event, MetricsEvent, PhaseEvent, PreflightEvent, ProgressEvent
from workers.contract.spec import EvaluationSettings, PreflightSettings
from workers.contract.workload import Workload

SignIn = Callable[[User], Client]
SECONDS = {"prepare": 8, "preflight": 20, "train": 60, "evaluate": 30, "package": 10}
VALUES = {"step_time": 6.0, "completions/mean_length": 32.0}
SETTINGS: dict[str, Any] = {
    "grpo": {"max_steps": 10, "group_size": 4, "prompts_per_step": 4, "max_completion_length": 64},
    "evaluation": {"every": 0, "max_rows": 20, "samples_per_row": 4, "validation_max_rows": 10},
    "preflight": {"rows": 6, "samples_per_row": 4},
}


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(timezone, "now", clock)
    return clock


@pytest.fixture
def launch(team: Team, alice: User) -> Callable[..., Job]:
    dataset, grader = create_sample_project(team, alice)
    task = TaskChoice("", dataset.versions.get(), grader.versions.get())

    def launch(suites: tuple[SuiteChoice, ...] = (), **sections: Any) -> Job:
        settings = {name: values | sections.get(name, {}) for name, values in SETTINGS.items()}
        job = launch_job(
            JobRequest(
                team=team,
                user=alice,
                suites=suites,
                name="J",
                base_model=ensure_starter_model(),
                tasks=[task],
                settings=settings | {"seed": sections.get("seed", 0)},
            )
        )
        validate_files(job.pk)
        job.refresh_from_db()
        return job

    return launch


def run(job: Job, clock: Clock, factor: float = 1.0, node: str = "here") -> Job:
    """The whole job on a node, each phase ``factor`` times as long as usual."""
    nodes.register_node(node, {}, NodeDevices(cpu_cores=2), {})
    claimed = claim_job(node)
    assert claimed == job
    steps = job.settings.grpo.max_steps
    more: dict[str, list[Event]] = {
        "preflight": [PreflightEvent.model_validate(REPORT)],
        "train": [MetricsEvent(step=1, total_steps=steps, values=VALUES)],
    }
    for phase, seconds in SECONDS.items():
        report = [PhaseEvent.model_validate({"phase": phase}), *more.get(phase, [])]
        assert recording.record_events(job.pk, 1, report)
        clock.move(seconds * factor)
    assert change_state(job.pk, State.SUCCEEDED)
    job.refresh_from_db()
    return job


def test_a_repeated_job_takes_as_long_as_the_first(launch: Callable[..., Job], clock: Clock) -> None:
    assert launch().estimate is None, "nothing has been measured yet"
    Job.objects.all().delete()
    run(launch(), clock)
    run(launch(grpo={"max_steps": 40}), clock, 3)
    again = launch(seed=1)
    assert again.estimate
    assert again.estimate.phases == SECONDS
    assert again.estimate.seconds == 128


def test_phases_grow_with_the_work_they_have(launch: Callable[..., Job], clock: Clock) -> None:
    run(launch(), clock)
    longer = launch(grpo={"max_steps": 20}).estimate
    assert longer
    assert longer.phases == SECONDS | {"train": 120}
    wider = launch(evaluation={"max_rows": 40, "validation_max_rows": 20}, preflight={"rows": 12}).estimate
    assert wider
    assert wider.phases["evaluate"] == pytest.approx(60, rel=0.1)
    assert wider.phases["preflight"] == pytest.approx(40)
    suite = launch((SuiteChoice("S", built_in="ticket"),)).estimate
    assert suite
    assert suite.phases["evaluate"] > 45
    shorter = launch(grpo={"max_completion_length": 16}).estimate
    assert shorter
    assert shorter.phases == SECONDS | {"preflight": 10, "train": 30, "evaluate": 15}


def test_jobs_on_the_node_that_will_run_it_count_before_others(
    launch: Callable[..., Job], clock: Clock
) -> None:
    run(launch(), clock, node="fast")
    slow = run(launch(), clock, 3, node="slow")
    plan = estimates.plan_job(slow)
    assert [estimates.estimate(plan, [node]).seconds for node in ("fast", "slow")] == [128, 384]  # type: ignore[union-attr]


def test_the_form_names_every_phase_and_where_the_estimate_comes_from(
    team: Team, alice: User, launch: Callable[..., Job], clock: Clock, as_user: SignIn
) -> None:
    job = run(launch(), clock)
    page = as_user(alice).get(f"/t/{team.slug}/jobs/new/?from={job.uid}").text
    assert "about 2 min 8 s" in page
    assert "Measured on 1 earlier job with these settings" in page
    for name, seconds in (("Prepare", "8 s"), ("Measure base", "20 s"), ("Compare", "30 s")):
        assert f"<li>{name}: {seconds}</li>" in page
    assert "Evaluations come on top" not in page


def test_the_outcome_stands_beside_the_estimate(
    alice: User, launch: Callable[..., Job], clock: Clock, as_user: SignIn
) -> None:
    run(launch(), clock)
    close, far = run(launch(), clock, 1.2), run(launch(), clock, 3)
    page = as_user(alice).get(close.get_absolute_url()).text
    assert "2 min 34 s of work; the estimate was 2 min 8 s" in page
    for job, accurate in ((close, True), (far, False)):
        whole = next(each for each in preflight.check_forecast(job) if "whole job" in each.name)
        assert whole.accurate == accurate


def test_the_time_left_counts_down_from_the_launch_on(launch: Callable[..., Job], clock: Clock) -> None:
    run(launch(), clock)
    job = launch()
    assert claim_job("here") == job
    job.refresh_from_db()
    assert job.seconds_left == 128
    clock.move(28)
    assert job.seconds_left == 100
    told = ProgressEvent(phase="train", done=1, total=10, eta_seconds=70)
    recording.record_events(job.pk, 1, [PhaseEvent(phase="train"), told])
    clock.move(20)
    job.refresh_from_db()
    assert (job.seconds_left, job.is_late) == (50, False)
    clock.move(60)
    assert (job.seconds_left, job.is_late) == (0, True)
    change_state(job.pk, State.PAUSED)
    job.refresh_from_db()
    assert (job.seconds_left, job.is_late) == (0, False)


def test_the_workload_counts_every_answer_of_a_job() -> None:
    evaluation = EvaluationSettings(
        samples_per_row=4, max_rows=20, every=5, validation_samples_per_row=2, validation_max_rows=10
    )
    work = Workload(
        evaluation, PreflightSettings(rows=6, samples_per_row=4), group_size=8, steps=20, train=5,
        validation=10, final=20, suites=[100],
    )  # fmt: skip
    assert work.count_preflight_completions() == 5 * 8
    assert (work.before_training().completions, work.before_training().suite_completions) == (
        10 * 2 + 40,
        10 * 2,
    )
    assert (work.after_training().completions, work.after_training().suite_completions) == (
        2 * 20 * 4,
        2 * 20 * 4,
    )
    assert work.after_training().drift_completions == 20 * 4 + 20 * 4
    whole, half = work.remaining_after(0), work.remaining_after(10)
    assert whole.completions == 60 + 4 * 20 + 160
    assert whole.suite_completions == 20 + 4 * 20 + 160
    assert (half.completions, half.suite_completions) == (2 * 20 + 160, 2 * 20 + 160)
    assert half.drift_completions == 2 * (10 * 2 + 10 * 2) + 160
