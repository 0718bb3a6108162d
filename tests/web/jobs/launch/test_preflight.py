"""The preflight's page: advice first, numbers behind it, and a way on against it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from tests.web.preflight_report import REPORT
from webapp.home.sample_project import create_sample_project
from webapp.jobs import recording
from webapp.jobs.launch.request import JobRequest, single_task
from webapp.jobs.launch.service import launch
from webapp.jobs.models import Job
from webapp.jobs.states import State
from webapp.registry.services import ensure_starter_model
from webapp.teams.models import AuditEvent, Team, User
from webapp.work.queue import fence_attempt
from workers.contract import events


@pytest.fixture
def job(team: Team, alice: User) -> Job:
    dataset, grader = create_sample_project(team, alice)
    return launch(
        JobRequest(
            team=team,
            user=alice,
            name="Never",
            base_model=ensure_starter_model(),
            tasks=single_task(dataset.versions.get(), grader.versions.get()),
            settings={},
        )
    )


@pytest.fixture
def waiting(job: Job) -> Job:
    """A job that its preflight has paused."""
    Job.objects.filter(pk=job.pk).update(state=State.RUNNING, attempt=1)
    said = [
        events.PreflightEvent.model_validate(REPORT),
        events.ErrorEvent(code="preflight", message="The preflight advises against training."),
    ]
    assert recording.record_events(job.pk, 1, said)
    Job.objects.filter(fence_attempt(job.pk, 1)).update(state=State.PAUSED)
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
    assert "Train anyway" not in page  # a viewer only looks


def test_an_editor_goes_on_against_the_advice_which_is_kept(waiting: Job, as_user, alice: User):
    client: Client = as_user(alice)
    assert "Train anyway" in client.get(address(waiting)).content.decode()
    client.post(f"{waiting.get_absolute_url()}resume/")
    waiting.refresh_from_db()
    assert (waiting.state, waiting.overruled_by) == (State.QUEUED, alice)
    assert AuditEvent.objects.filter(verb__contains="against the preflight").exists()
    page = client.get(address(waiting)).content.decode()
    assert "trained anyway" in page
    assert client.get(waiting.get_absolute_url()).context["job"].error is None, "the banner has gone"
    client.post(f"{waiting.get_absolute_url()}resume/")  # once is enough
    assert Job.objects.get(pk=waiting.pk).state == State.QUEUED


def test_a_job_without_a_preflight_says_what_will_come(job: Job, as_user, bob: User):
    assert "The preflight runs when the job starts" in as_user(bob).get(address(job)).content.decode()


def test_the_forecast_is_held_against_what_happened(waiting: Job, as_user, bob: User):
    values = {"groups/no_signal_share": 0.55}
    Job.objects.filter(pk=waiting.pk).update(state=State.SUCCEEDED)
    began = timezone.now()
    for seconds, kind in ((0, "phase"), (200, "state")):
        event = waiting.events.create(kind=kind, attempt=1, data={"phase": "train", "state": "succeeded"})
        waiting.events.filter(pk=event.pk).update(created_at=began + timedelta(seconds=seconds))
    waiting.metrics.create(step=1, values=values)
    page = " ".join(as_user(bob).get(address(waiting)).content.decode().split())
    assert "55 % over 1 steps" in page
    assert "200 s" in page


def test_samples_are_shown_with_their_grading_and_the_other_causes(job: Job, as_user, bob: User):
    sample = {
        "row_id": "00" * 16, "prompt": "<b>What</b> is owed?", "completion": "<script>12</script>",
        "reward": 0.0,
        "sub_rewards": {"format": 1.0, "value": 0.0}, "error_class": "sample_parse_error",
        "error_detail": "line 1\x00", "explanation": "No JSON.", "length": 9, "truncated": True,
    }  # fmt: skip
    others = [{"verdict": "raise_length", "reason": "30% were cut.", "remedy": "Raise it."}]
    told = events.PreflightEvent.model_validate(REPORT | {"samples": [sample, sample], "others": others})
    Job.objects.filter(pk=job.pk).update(state=State.RUNNING, attempt=1)
    for _ in range(2):  # told again after a resume, it is stored once
        assert recording.record_events(job.pk, 1, [told])
    job.refresh_from_db()
    assert job.preflight
    assert not job.preflight.samples
    assert job.preflight_samples.count() == 2
    page = as_user(bob).get(address(job)).text
    assert (
        page.index("Also:")
        < page.index("Samples and how they were graded")
        < page.index("Rewards of the base")
    )
    for text in (
        "&lt;script&gt;12",
        "&lt;b&gt;What&lt;/b&gt;",
        "No JSON.",
        "format",
        "30% were cut.",
        "sample_parse_error",
    ):
        assert text in page
    assert "<script>12" not in page
