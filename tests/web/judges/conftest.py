"""A judge that answers as a test tells it, and a grader that asks it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.web.judges.labels import DEFINITION
from tests.workers.judge_server import KEY, JudgeServer
from webapp.endpoints import services as endpoints
from webapp.endpoints.models import Endpoint
from webapp.graders.models import Grader, GraderTrial
from webapp.graders.services import create_grader
from webapp.teams.models import Team, User


@pytest.fixture
def judge() -> Iterator[JudgeServer]:
    with JudgeServer() as server:
        yield server


@pytest.fixture
def endpoint(team: Team, alice: User, judge: JudgeServer) -> Endpoint:
    return endpoints.connect_endpoint(
        team, alice, name="gpt-judge", base_url=judge.url, api_key=KEY, input_price=1.0, timeout_seconds=5.0
    )


@pytest.fixture
def grader(team: Team, alice: User) -> Grader:
    return create_grader(team, alice, "Tone", DEFINITION)


@pytest.fixture
def trial(team: Team, grader: Grader) -> GraderTrial:
    """40 answers to 40 rows: the longer, the better."""
    rows = [
        {"row_id": f"r{n}", "messages": [{"role": "user", "content": f"prompt {n}"}], "item": {}}
        for n in range(40)
    ]
    results = [{"row": n, "answer": "good " * (n % 5 + 1) + str(n), "reward": 0.77777} for n in range(40)]
    return GraderTrial.objects.create(
        team=team,
        grader=grader,
        definition=DEFINITION,
        rows=rows,
        results=results,
        summary={"answers": 40},
        state=GraderTrial.State.FINISHED,
    )
