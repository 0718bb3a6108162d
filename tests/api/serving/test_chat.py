"""The gateway: what it refuses, and what callers get of the answers of model servers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.test import AsyncClient
from hypothesis import given
from hypothesis import strategies as st

from tests.api.conftest import Call, make_call, make_secret
from tests.api.serving.model_server import Scripted, chunk, completion, last_chunk, run_server
from tests.web.comparison import finished_job, tuned_model
from webapp.catalog.model_names import find_target
from webapp.deployments.services import deploy
from webapp.interactions.models import Interaction
from webapp.keys.models import Scope
from webapp.registry.models import BaseModel, TunedModel
from webapp.registry.services import ensure_starter_model
from webapp.serving.gateway import limits
from webapp.serving.gateway.answers import split_events
from webapp.serving.models import ModelServer, ServedAdapter, Usage
from webapp.teams.models import Team, User
from webapp.work.errors import WorkError
from webapp.work.models import WorkState
from workers.contract.adapter import WEIGHTS

PATH = "/chat/completions"
MESSAGES = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def base(db: None) -> BaseModel:
    return ensure_starter_model()


@pytest.fixture
def model(team: Team, alice: User) -> TunedModel:
    return tuned_model(finished_job(team, alice))


@pytest.fixture
def server(base: BaseModel) -> Iterator[Scripted]:
    with run_server(base) as script:
        yield script


def ask(base: BaseModel, **more: Any) -> dict[str, Any]:
    return {"model": base.model_id, "messages": MESSAGES} | more


def stream(secret: str, body: dict[str, Any]) -> tuple[int, bytes]:
    """Status and all that the caller gets, read as the ASGI server reads it."""

    async def read() -> tuple[int, bytes]:
        content, headers = json.dumps(body | {"stream": True}), {"authorization": f"Bearer {secret}"}
        answer = await AsyncClient().post(
            f"/v1{PATH}", content, content_type="application/json", headers=headers
        )
        if not answer.streaming:
            return answer.status_code, answer.content
        return answer.status_code, b"".join([part async for part in answer])

    return async_to_sync(read)()


def weights_of(model: TunedModel) -> str:
    return next(file["sha256"] for file in model.files if file["name"] == WEIGHTS)


# --- requests ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user"}]}, "messages.0"),
        ({"temperature": 2.1}, "temperature"),
        ({"n": 129}, "n"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"logit_bias": {"1": 101}}, "logit_bias.1"),
        ({"audio": {"voice": "x", "format": "wav"}}, "audio"),
        ({"modalities": ["audio"]}, "modalities.0"),
        ({"web_search_options": {"search_context_size": "low"}}, "web_search_options"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"metadata": {"key": "x" * 513}}, "metadata.key"),
        ({"tools": [{"type": "function", "function": {"name": "no spaces"}}]}, "tools.0.function.name"),
    ],
)
def test_a_field_out_of_bounds_is_named(
    call: Call, base: BaseModel, given_fields: dict[str, Any], param: str
) -> None:
    answer = call("POST", PATH, ask(base, **given_fields))
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert not ModelServer.objects.exists(), "nothing starts for it"


def test_top_logprobs_need_logprobs(call: Call, base: BaseModel) -> None:
    answer = call("POST", PATH, ask(base, top_logprobs=3))
    assert answer.status_code == 400
    assert "needs logprobs" in answer.json()["error"]["message"]


@pytest.mark.parametrize("name", ["gpt-9", "ft:groove/starter:acme:invoices:Ab3dE6gh"])
def test_models_that_do_not_exist_or_belong_to_others_are_not_found(
    stranger_call: Call, base: BaseModel, model: TunedModel, name: str
) -> None:
    answer = stranger_call("POST", PATH, ask(base, model=name))
    assert answer.status_code == 404
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == ("model_not_found", "model")


def test_a_key_needs_the_scope_inference(team: Team, alice: User, base: BaseModel) -> None:
    answer = make_call(make_secret(team, alice, Scope.READ))("POST", PATH, ask(base))
    assert answer.status_code == 403


# --- loading -----------------------------------------------------------------------------------------


def test_a_request_for_a_loading_model_is_told_to_retry(call: Call, base: BaseModel, settings: Any) -> None:
    settings.SERVE_WAIT_SECONDS = 0
    answer = call("POST", PATH, ask(base))
    assert answer.status_code == 503
    assert (answer.headers["retry-after"], answer.headers["x-should-retry"]) == ("10", "true")
    assert answer.json()["error"]["type"] == "server_error"
    assert ModelServer.objects.get(base_model=base).state == WorkState.QUEUED


def test_a_model_that_cannot_be_loaded_says_why(call: Call, base: BaseModel) -> None:
    ModelServer.objects.create(
        base_model=base, state=WorkState.FAILED, finished_at="2126-01-01T00:00Z",
        error=WorkError(message="The file config.json is missing."),
    )  # fmt: skip
    answer = call("POST", PATH, ask(base))
    assert answer.status_code == 503
    assert "config.json is missing" in answer.json()["error"]["message"]


def test_an_adapter_that_is_not_loaded_is_requested_from_the_worker(
    call: Call, base: BaseModel, model: TunedModel, server: Scripted, settings: Any
) -> None:
    settings.SERVE_WAIT_SECONDS = 0
    assert call("POST", PATH, ask(base, model=model.name)).status_code == 503
    wanted = ServedAdapter.objects.get()
    assert (wanted.sha256, wanted.tuned_model, wanted.loaded_attempt) == (weights_of(model), model, 0)
    assert server.asked == []


# --- answers -----------------------------------------------------------------------------------------


def test_an_answer_has_our_id_the_name_that_was_asked_and_no_internals(
    call: Call, base: BaseModel, server: Scripted
) -> None:
    answer = call("POST", PATH, ask(base, temperature=0, user="u-1", metadata={"a": "b"}))
    body = answer.json()
    assert body["id"].startswith("chatcmpl-")
    assert (body["model"], body["choices"][0]["message"]["content"]) == (base.model_id, "Hi")
    assert body["system_fingerprint"].startswith("fp_")
    assert answer.headers["x-groove-version"] == base.model_id
    assert not {"adapter_sha256", "prompt_token_ids"} & set(body) | {"token_ids"} & set(body["choices"][0])
    assert server.asked == [{"model": base.model_id, "messages": MESSAGES, "temperature": 0}]


def test_a_tuned_model_is_asked_for_by_the_hash_of_its_weights(
    call: Call, base: BaseModel, model: TunedModel
) -> None:
    sha256 = weights_of(model)
    with run_server(base, sha256) as server:
        server.body = completion(sha256)
        body = call("POST", PATH, ask(base, model=model.name)).json()
    assert body["model"] == model.name
    assert server.asked[0]["model"] == sha256


@pytest.mark.parametrize("streamed", [False, True])
def test_an_answer_of_another_adapter_is_dropped(
    secret: str, call: Call, base: BaseModel, server: Scripted, streamed: bool
) -> None:
    server.body, server.events = completion("f" * 64), [chunk("Hi", "f" * 64)] if streamed else []
    if streamed:
        status, content = stream(secret, ask(base))
    else:
        answer = call("POST", PATH, ask(base))
        status, content = answer.status_code, answer.content
    assert status == 503
    assert "Another version" in json.loads(content)["error"]["message"]
    assert Usage.objects.get().errors == 1


def test_what_the_model_server_refuses_reaches_the_caller(
    secret: str, base: BaseModel, server: Scripted
) -> None:
    error = {"message": "too long", "type": "x", "param": "messages", "code": "context_length_exceeded"}
    server.status, server.body = 400, {"error": error}
    status, content = stream(secret, ask(base))
    assert status == 400
    assert json.loads(content)["error"] == error | {"type": "invalid_request_error"}


# --- streams -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", [False, True])
def test_a_stream_ends_with_its_usage_if_the_caller_wants_it(
    secret: str, base: BaseModel, server: Scripted, wanted: bool
) -> None:
    server.events = [chunk("H"), chunk("i"), last_chunk(), "data: [DONE]"]
    more: dict[str, Any] = {"stream_options": {"include_usage": True}} if wanted else {}
    _, content = stream(secret, ask(base, **more))
    *events, done, rest = content.decode().split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    bodies = [json.loads(event.removeprefix("data: ")) for event in events]
    assert len(bodies) == 2 + wanted
    assert {body["model"] for body in bodies} == {base.model_id}
    assert len({body["id"] for body in bodies}) == 1
    assert [body.get("usage") is not None for body in bodies] == [False, False, True][: len(bodies)]
    used = Usage.objects.get()
    assert (used.requests, used.errors, used.prompt_tokens, used.completion_tokens) == (1, 0, 9, 2)


def test_a_stream_that_breaks_ends_with_an_error(secret: str, base: BaseModel, server: Scripted) -> None:
    server.events = [chunk("H")]
    status, content = stream(secret, ask(base))
    first, last, rest = content.decode().split("\n\n")
    assert (status, rest) == (200, "")
    assert json.loads(first.removeprefix("data: "))["choices"][0]["delta"] == {"content": "H"}
    assert json.loads(last.removeprefix("data: "))["error"]["type"] == "server_error"
    assert Usage.objects.get().errors == 1


@given(
    st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=5), max_size=8),
    st.data(),
)
def test_events_are_the_same_however_a_stream_is_cut(events: list[str], data: st.DataObject) -> None:
    content = "".join(f"{event}\n\n" for event in events).encode()
    found, buffer = [], bytearray()
    while content:
        size = data.draw(st.integers(1, len(content)))
        buffer += content[:size]
        content = content[size:]
        found += list(split_events(buffer))
    assert [event.decode() for event in found] == events
    assert not buffer


# --- stored completions ------------------------------------------------------------------------------


@pytest.mark.parametrize("streamed", [False, True])
def test_a_stored_completion_is_kept_with_its_tokens(
    secret: str, call: Call, base: BaseModel, server: Scripted, streamed: bool
) -> None:
    body = ask(base, store=True, temperature=0.5, metadata={"workload": "demo"})
    if streamed:
        tokens = {"index": 0, "finish_reason": "stop", "delta": {}, "token_ids": [5], "logp_model": [-0.5]}
        server.events = [
            chunk("H", prompt_token_ids=[1, 2]), chunk("i"), chunk("", choices=[tokens]), last_chunk(),
            "data: [DONE]",
        ]  # fmt: skip
        stream(secret, body)
    else:
        call("POST", PATH, body)
    assert server.asked[0]["return_token_ids"] is True
    (listed,) = call("GET", PATH).json()["data"]
    kept = Interaction.objects.get(uid=listed["id"])
    assert (kept.completion_text, kept.finish, kept.metadata) == ("Hi", "stop", {"workload": "demo"})
    assert (kept.prompt_ids, kept.completion_ids, kept.params) == ([1, 2], [5], {"temperature": 0.5})
    assert (kept.base_model, kept.verified) == (base, True)


def test_a_completion_is_kept_only_if_the_caller_wants_it(
    call: Call, base: BaseModel, server: Scripted
) -> None:
    call("POST", PATH, ask(base))
    assert not Interaction.objects.exists()


# --- deployments -------------------------------------------------------------------------------------


def test_a_deployment_answers_with_its_stable_version(
    call: Call, team: Team, alice: User, base: BaseModel, server: Scripted
) -> None:
    target = find_target(team, base.model_id)
    assert target
    deployment = deploy(team, alice, "support", target)
    answer = call("POST", PATH, ask(base, model="support"))
    assert answer.json()["model"] == "support"
    assert answer.headers["x-groove-version"] == deployment.stable.uid
    assert server.asked[0]["model"] == base.model_id


# --- limits and usage --------------------------------------------------------------------------------


def test_a_key_has_a_limit_of_open_requests(
    call: Call, team: Team, base: BaseModel, server: Scripted, settings: Any
) -> None:
    settings.SERVE_OPEN_REQUESTS = 1
    assert call("POST", PATH, ask(base)).status_code == 200
    with limits.hold_place(f"key {team.api_keys.get().pk}"):
        answer = call("POST", PATH, ask(base))
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    assert call("POST", PATH, ask(base)).status_code == 200, "the place is free again"


def test_the_use_of_a_day_adds_up_in_one_row(call: Call, base: BaseModel, server: Scripted) -> None:
    for _ in range(3):
        call("POST", PATH, ask(base))
    used = Usage.objects.get()
    assert (used.model, used.requests, used.prompt_tokens, used.completion_tokens) == (
        base.model_id,
        3,
        27,
        6,
    )
    assert used.milliseconds >= used.slowest_milliseconds
