"""The preflight's page: advice first, numbers behind it, and a way on against it."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from webapp.jobs import leases, recording, services
from webapp.jobs.models import Job
from webapp.jobs.states import State
from webapp.registry.services import ensure_starter_model
from webapp.teams.models import AuditEvent, Team, User
from webapp.teams.sample import create_sample_project
from workers import events
from workers.engine.forecast import REMEDIES

INTERVAL = {"mean": 0.5, "low": 0.4, "high": 0.6}
REPORT: dict[str, Any] = {
    "rows": 24, "samples_per_row": 16, "histogram": [380, *[0] * 18, 4], "histogram_low": 0.0,
    "histogram_high": 1.0, "reward": INTERVAL, "pass_curve": [{"k": k, "value": INTERVAL} for k in (1, 16)],
    "no_signal": {"4": INTERVAL, "8": INTERVAL}, "group_size": 8, "truncated_share": 0.0,
    "grading_error_share": 0.0, "spread": 0.1, "detectable": 0.04, "held_out_rows": 120,
    "rows_for_2_points": 480, "verdict": "sft_first", "reason": "Not even one of 16 answers is right.",
    "remedy": REMEDIES["sft_first"],
    "forecast": {
        "step_seconds": 1.0, "train_seconds": {"mean": 50, "low": 30, "high": 80},
        "seconds": {"mean": 60, "low": 40, "high": 90}, "judge_cost": INTERVAL,
    },
}  # fmt: skip


@pytest.fixture
def job(team: Team, alice: User) -> Job:
    dataset, grader = create_sample_project(team, alice)
    return services.create_job(
        team, alice, name="Never", base_model=ensure_starter_model(), dataset_version=dataset.versions.get(),
        grader_version=grader.versions.get(), settings={},
    )  # fmt: skip


@pytest.fixture
def waiting(job: Job) -> Job:
    """A job that its preflight has paused."""
    Job.objects.filter(pk=job.pk).update(state=State.RUNNING, attempt=1)
    said = [
        events.PreflightEvent.model_validate(REPORT),
        events.ErrorEvent(code="preflight", message="The preflight advises against training."),
    ]
    assert recording.record_events(job.pk, 1, said)
    Job.objects.filter(leases.holds(job.pk, 1)).update(state=State.PAUSED)
    job.refresh_from_db()
    return job


def address(job: Job, more: str = "") -> str:
    return f"{job.get_absolute_url()}preflight/{more}"


def test_the_page_gives_the_advice_and_every_number_behind_it(waiting: Job, as_user, bob: User):
    page = as_user(bob).get(address(waiting)).content.decode()
    assert "Train on examples first" in page
    assert "Not even one of 16 answers is right." in page
    assert "480" in page
    assert 'data-curves="{&quot;x&quot;: [1, 16]' in page
    assert "Go on against the advice" not in page  # a viewer only looks


def test_an_editor_goes_on_against_the_advice_which_is_kept(waiting: Job, as_user, alice: User):
    client: Client = as_user(alice)
    assert "Go on against the advice" in client.get(address(waiting)).content.decode()
    client.post(f"{waiting.get_absolute_url()}resume/")
    waiting.refresh_from_db()
    assert (waiting.state, waiting.overruled_by) == (State.QUEUED, alice)
    assert AuditEvent.objects.filter(verb__contains="against the preflight").exists()
    page = client.get(address(waiting)).content.decode()
    assert "went on against this advice" in page
    client.post(f"{waiting.get_absolute_url()}resume/")  # once is enough
    assert Job.objects.get(pk=waiting.pk).state == State.QUEUED


def test_a_job_without_a_preflight_says_what_will_come(job: Job, as_user, bob: User):
    assert "once the job has begun" in as_user(bob).get(address(job)).content.decode()


def test_the_forecast_is_held_against_what_happened(waiting: Job, as_user, bob: User):
    values = {"groups/no_signal_share": 0.55}
    Job.objects.filter(pk=waiting.pk).update(state=State.SUCCEEDED, train_seconds=200)
    waiting.metrics.create(step=1, values=values)
    page = " ".join(as_user(bob).get(address(waiting)).content.decode().split())
    assert "55 % over 1 steps" in page
    assert "200 s" in page
