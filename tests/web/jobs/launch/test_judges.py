"""A job with a judge starts only when it can be asked, and counts what it costs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from webapp.endpoints.services import connect_endpoint
from webapp.graders.models import GraderCheck, GraderTest, GraderVersion
from webapp.graders.services import create_grader
from webapp.home.sample_project import create_sample_project
from webapp.jobs import recording
from webapp.jobs.errors import SettingsInvalid
from webapp.jobs.launch.request import JobRequest, single_task
from webapp.jobs.launch.service import launch as launch_job
from webapp.jobs.launch.service import validate_files
from webapp.jobs.models import Job
from webapp.jobs.queue import claim_job
from webapp.registry.services import ensure_starter_model
from webapp.teams.models import Team, User
from webapp.work import nodes
from workers.contract import events
from workers.contract.devices import NodeDevices

AsUser = Callable[[User], Client]
JUDGE = {
    "type": "score_model",
    "name": "tone",
    "model": "judge",
    "input": [{"role": "user", "content": "{{sample.output_text}}"}],
}


@pytest.fixture
def version(team: Team, alice: User) -> GraderVersion:
    return create_grader(team, alice, "Tone", JUDGE).versions.get()


def launch(team: Team, user: User, version: GraderVersion) -> Job:
    dataset, _ = create_sample_project(team, user)
    return launch_job(
        JobRequest(
            team=team,
            user=user,
            name="job",
            base_model=ensure_starter_model(),
            tasks=single_task(dataset.versions.get(), version),
            settings={"grpo": {"max_steps": 5}},
        )
    )


def test_a_judge_that_nobody_connected_keeps_a_job_from_being_launched(
    as_user: AsUser, team: Team, alice: User, version: GraderVersion
) -> None:
    with pytest.raises(SettingsInvalid, match="Nobody has connected the judge 'judge'"):
        launch(team, alice, version)
    page = as_user(alice).get(f"/t/{team.slug}/jobs/new/?grader={version.uid}").content.decode()
    assert "Nobody has connected the judge" in page
    connect_endpoint(team, alice, name="judge", base_url="http://judge.example/v1")
    assert launch(team, alice, version).grader_version == version


def test_a_version_that_pays_a_known_bad_answer_is_not_used(team: Team, alice: User) -> None:
    _, grader = create_sample_project(team, alice)
    version = grader.versions.get()
    test = GraderTest.objects.create(grader=grader, row={"item": {}}, answer="bad", kind="bad", limit=0.2)
    seen = {"tests": {test.uid: {"reward": 0.9, "passed": False}}}
    GraderCheck.objects.update_or_create(version=version, defaults={"state": "finished", "results": seen})
    with pytest.raises(SettingsInvalid, match=r"scores it 0\.900, but a known bad answer must earn"):
        launch(team, alice, version)


def test_where_an_uncalibrated_judges_reward_is_charted_it_says_so(
    as_user: AsUser, team: Team, alice: User, version: GraderVersion
) -> None:
    connect_endpoint(team, alice, name="judge", base_url="http://judge.example/v1")
    job = launch(team, alice, version)
    jobs = f"/t/{team.slug}/jobs/"
    for place in (job.get_absolute_url(), jobs, f"{jobs}new/?grader={version.uid}"):
        assert "uncalibrated" in as_user(alice).get(place).content.decode(), place


def test_what_judges_cost_adds_up_and_stays_spent_when_steps_are_taken_back(
    as_user: AsUser, team: Team, alice: User, version: GraderVersion
) -> None:
    connect_endpoint(team, alice, name="judge", base_url="http://judge.example/v1")
    job = launch(team, alice, version)
    nodes.register_node("here", {}, NodeDevices(cpu_cores=2), {})
    validate_files(job.pk)
    claimed = claim_job("here")
    assert claimed is not None
    values = {"judge/judge/cost": 0.25, "judge/judge/prompt_tokens": 7.0}
    batch = [events.MetricsEvent(step=step, total_steps=5, values=values) for step in (1, 2)]
    recording.record_events(job.pk, claimed.attempt, batch)
    recording.begin_attempt(job.pk, claimed.attempt, 1)
    job.refresh_from_db()
    assert job.judge_cost == {"judge": 0.5}
    assert "0.5000 (judge)" in as_user(alice).get(job.get_absolute_url()).content.decode()
