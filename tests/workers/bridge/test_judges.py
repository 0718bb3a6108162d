"""A real worker trains with a judge: its key stays unseen, and a judge that breaks down pauses the job."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from tests.conftest import Process
from tests.workers.bridge.test_jobs import SETTINGS, in_state, wait
from tests.workers.judge_server import KEY, Answer, JudgeServer
from webapp.datasets.models import DatasetVersion
from webapp.endpoints.services import connect_endpoint
from webapp.graders.models import GraderCheck, GraderVersion
from webapp.graders.services import create_grader
from webapp.home.sample_project import create_sample_project
from webapp.jobs.launch.request import JobRequest, single_task
from webapp.jobs.launch.service import launch
from webapp.jobs.models import Job
from webapp.jobs.services import resume_job
from webapp.jobs.states import State
from webapp.registry.services import ensure_starter_model
from webapp.teams.models import Team, User

HEALTHY_REQUESTS = 30


@pytest.fixture
def judge() -> Iterator[JudgeServer]:
    with JudgeServer() as server:
        yield server


@pytest.mark.django_db(transaction=True)
def test_a_judge_that_breaks_down_pauses_the_job_and_resuming_finishes_it(
    team: Team, alice: User, judge: JudgeServer, start_worker: Callable[[str], Process]
) -> None:
    judge.behave = lambda body, number: score(body)
    connect_endpoint(team, alice, name="m", base_url=judge.url, api_key=KEY, input_price=1000.0)
    start_worker("one")
    version = checked_grader(team, alice)
    last = len(judge.requests) + HEALTHY_REQUESTS
    judge.behave = lambda body, number: score(body) if number < last else Answer(status=401)
    job = wait(launched(team, alice, version), in_state(State.PAUSED))
    assert job.error.code == "judge_failing"
    assert "status 401" in job.error.detail
    assert KEY not in job.error.model_dump_json()
    spent = job.judge_cost["m"]
    assert spent == pytest.approx(0.1 * HEALTHY_REQUESTS)  # 100 tokens read, at 1,000 a million
    judge.behave = lambda body, number: score(body)
    resume_job(job, alice)
    job = wait(job, in_state(State.SUCCEEDED))
    assert job.judge_cost["m"] > spent
    assert job.error is None
    assert job.rollouts.exclude(reward=None).exists()
    assert set(judge.authorizations) == {f"Bearer {KEY}"}
    assert not [path for path in Path(settings.WORK_DIR).rglob("*") if path.is_file() and KEY in read(path)]


def score(body: Any) -> Answer:
    """A reward that differs from answer to answer."""
    return Answer(json.dumps({"steps": [], "result": len(body["messages"][-1]["content"]) % 5 / 4}))


def checked_grader(team: Team, user: User) -> GraderVersion:
    """A grader that asks the judge, after its automatic check, which asks it too."""
    create_sample_project(team, user)
    shown = [{"role": "user", "content": "{{sample.output_text}}"}]
    definition = {"type": "score_model", "name": "judge", "model": "m", "input": shown}
    version = create_grader(team, user, "Judged", definition).versions.get()
    end = time.monotonic() + 60
    while GraderCheck.objects.get(version=version).state != GraderCheck.State.FINISHED:
        assert time.monotonic() < end, "the grader was not checked within a minute"
        time.sleep(0.2)
    return version


def launched(team: Team, user: User, version: GraderVersion) -> Job:
    return launch(
        JobRequest(
            team=team,
            user=user,
            name="judged",
            base_model=ensure_starter_model(),
            tasks=single_task(DatasetVersion.objects.get(), version),
            settings=SETTINGS | {"grpo": SETTINGS["grpo"] | {"max_steps": 10}},
        )
    )


def read(path: Path) -> str:
    return path.read_bytes().decode(errors="replace")
