"""The playground: what its address holds, whose rows it shows, and who may ask models."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.test import AsyncClient, Client
from django.urls import reverse

from tests.api.serving.model_server import chunk, last_chunk, run_server
from tests.web.comparison import finished_job
from webapp.graders.models import GraderTrial
from webapp.registry.models import BaseModel
from webapp.registry.services import ensure_starter_model
from webapp.serving.models import Usage
from webapp.teams.models import Team, User
from webapp.work.models import WorkState

SignIn = Callable[[User], Client]
MESSAGES = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def base(db: None) -> BaseModel:
    return ensure_starter_model()


def ask(client: Client, team: Team, body: Any) -> Any:
    text = body if isinstance(body, str) else json.dumps(body)
    return client.post(reverse("playground:complete", args=[team.slug]), {"body": text})


def read_stream(user: User, team: Team, body: Any) -> str:
    """All that the page gets, read as the ASGI server reads it."""

    async def read() -> bytes:
        client = AsyncClient()
        await client.aforce_login(user)
        url = reverse("playground:complete", args=[team.slug])
        response: Any = await client.post(url, {"body": json.dumps(body)})
        return b"".join([part async for part in response]) if response.streaming else response.content

    return async_to_sync(read)().decode()


def read_page(client: Client, team: Team, **query: object) -> str:
    response = client.get(reverse("playground:page", args=[team.slug]), query)
    assert response.status_code == 200
    return str(response.content.decode())


def test_the_address_holds_models_and_sampling(
    team: Team, alice: User, base: BaseModel, as_user: SignIn
) -> None:
    page = read_page(as_user(alice), team, model_1=base.model_id, temperature="0.3", seed="7")
    assert f'data-model="{base.model_id}"' in page
    assert 'value="0.3"' in page
    assert 'value="7"' in page


def test_a_team_without_models_learns_what_to_do(team: Team, alice: User, as_user: SignIn) -> None:
    BaseModel.objects.all().delete()
    assert "No model to talk to yet" in read_page(as_user(alice), team)


def test_a_member_streams_an_answer_that_counts_as_use(team: Team, bob: User, base: BaseModel) -> None:
    with run_server(base) as server:
        server.events = [chunk("Hi"), last_chunk(), "data: [DONE]"]
        content = read_stream(bob, team, {"model": base.model_id, "messages": MESSAGES, "stream": True})
    assert '"content":"Hi"' in content
    assert content.endswith("data: [DONE]\n\n")
    assert Usage.objects.get(key=None, model=base.model_id).requests == 1


@pytest.mark.parametrize("body", ["{", "[]", {"model": "m"}, {"model": "m", "messages": MESSAGES, "n": 0}])
def test_an_invalid_request_is_refused_in_words(team: Team, alice: User, as_user: SignIn, body: Any) -> None:
    response = ask(as_user(alice), team, body)
    assert response.status_code == 400
    assert response.json()["error"]["message"]


def test_an_unknown_model_is_named(team: Team, alice: User, as_user: SignIn) -> None:
    response = ask(as_user(alice), team, {"model": "nothing", "messages": MESSAGES})
    assert response.status_code == 404
    assert "'nothing'" in response.json()["error"]["message"]


def test_strangers_ask_nothing(team: Team, charlie: User, base: BaseModel, as_user: SignIn) -> None:
    body = {"model": base.model_id, "messages": MESSAGES}
    assert ask(as_user(charlie), team, body).status_code == 404
    assert ask(Client(), team, body).status_code == 404


def test_a_row_is_the_prompt(team: Team, alice: User, base: BaseModel, as_user: SignIn) -> None:
    version = finished_job(team, alice).dataset_version
    rows = version.files["train"]["rows"]
    page = read_page(as_user(alice), team, dataset=version.uid, split="train", row=1)
    assert f"train row 1 of {rows}" in page
    assert 'id="row-messages"' in page
    beyond = read_page(as_user(alice), team, dataset=version.uid, split="train", row=rows + 1)
    assert "Choose a smaller number" in beyond


def test_the_sealed_split_is_no_prompt(team: Team, alice: User, base: BaseModel, as_user: SignIn) -> None:
    version = finished_job(team, alice).dataset_version
    assert 'id="row-messages"' not in read_page(
        as_user(alice), team, dataset=version.uid, split="test", row=1
    )


def test_a_row_of_another_team_is_no_prompt(team: Team, alice: User, charlie: User, as_user: SignIn) -> None:
    version = finished_job(charlie.teams.get(), charlie).dataset_version
    assert 'id="row-messages"' not in read_page(as_user(alice), team, dataset=version.uid, row=1)


def test_a_verdict_waits_for_a_worker_and_then_shows_the_reward(
    team: Team, alice: User, as_user: SignIn
) -> None:
    job, client = finished_job(team, alice), as_user(alice)
    values = {
        "dataset": job.dataset_version.uid, "split": "train", "row": 1,
        "grader": job.grader_version.grader.uid, "answer": "42",
    }  # fmt: skip
    pending = client.post(reverse("playground:grade", args=[team.slug]), values)
    assert "No worker is online" in pending.content.decode()
    trial = GraderTrial.objects.get()
    assert trial.choices["answer"] == "42"
    result = {"row": 0, "source": "typed", "number": 0, "answer": "42", "reward": 0.5}
    GraderTrial.objects.update(state=WorkState.FINISHED, results=[result])
    shown = client.get(reverse("playground:verdict", args=[team.slug, trial.uid])).content.decode()
    assert "0.500" in shown


def test_viewers_grade_nothing(team: Team, bob: User, as_user: SignIn) -> None:
    assert as_user(bob).post(reverse("playground:grade", args=[team.slug])).status_code == 403
