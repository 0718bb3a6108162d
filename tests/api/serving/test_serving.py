"""A model server on a real worker, called by OpenAI's unmodified SDK."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import openai
import psutil
import pytest

from tests.api.conftest import make_secret
from tests.api.serving.served_adapters import MESSAGES, TOKENS, register_adapter, train_adapter
from tests.conftest import Process, free_port, until_up
from webapp.config.processes.embedded import run_valkey
from webapp.registry.models import BaseModel
from webapp.registry.services import ensure_starter_model, register_model
from webapp.serving.models import ModelServer, ServedAdapter, Usage
from webapp.teams.models import Team, User
from webapp.work.models import WorkState

STREAMS = 6
MANY = 50


@pytest.fixture
def base(db: None) -> BaseModel:
    return ensure_starter_model()


@pytest.fixture
def client(
    start: Callable[..., Process], start_worker: Callable[..., Process], team: Team, alice: User
) -> openai.OpenAI:
    """The SDK on a web process, with a worker whose servers stop after six idle seconds."""
    port = free_port()
    start("uvicorn", "webapp.config.asgi:application", "--port", str(port), "--lifespan", "off")
    start_worker(GROOVE_SERVE_IDLE_SECONDS="6")
    url = until_up(f"http://127.0.0.1:{port}")
    return openai.OpenAI(base_url=f"{url}/v1", api_key=make_secret(team, alice), max_retries=0)


@pytest.fixture
def kill_broker(site_env: dict[str, str], tmp_path: Path) -> Iterator[Callable[[], None]]:
    """Gives the site a broker of its own and a function that kills it; it starts again after a second."""
    with run_valkey(tmp_path) as site_env["BROKER_URL"]:
        name = site_env["BROKER_URL"].removeprefix("redis+socket://").partition("?")[0]
        yield lambda: find_process("valkey", f"unixsocket:{name}").kill()


def find_process(*words: str) -> psutil.Process:
    """The descendant of this process whose command has these words."""
    children = psutil.Process().children(recursive=True)
    return next(each for each in children if all(word in " ".join(each.cmdline()) for word in words))


def wait_until(holds: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.1)


def stream_and_kill(
    client: openai.OpenAI, model: str, kill: Callable[[], None], tokens: int = 400
) -> set[str]:
    """How the streams ended that ran while something was killed."""
    with ThreadPoolExecutor(MANY) as pool:
        streams = [pool.submit(finish_stream, client, model, tokens) for _ in range(MANY)]
        time.sleep(1)
        kill()
        return {each.result(timeout=90) for each in streams}


def finish_stream(client: openai.OpenAI, model: str, tokens: int = 400) -> str:
    """How a stream of many tokens ended: "stop", "length" or the error's class."""
    try:
        stream = client.chat.completions.create(
            model=model, messages=MESSAGES, max_completion_tokens=tokens, stream=True,
            logit_bias={"0": -100, "1": -100, "2": -100},
        )  # fmt: skip
        last = [chunk.choices[0].finish_reason for chunk in stream if chunk.choices][-1]
    except (openai.APIError, httpx2.HTTPError) as error:
        return type(error).__name__
    return str(last)


def test_models_answer_by_api_survive_a_crash_and_stop_when_idle(
    client: openai.OpenAI, team: Team, base: BaseModel, tmp_path: Path
) -> None:
    expected = train_adapter(tmp_path / "adapter")
    tuned = register_adapter(team, base, tmp_path / "adapter")
    ask: Any = {"messages": MESSAGES, "max_completion_tokens": TOKENS, "temperature": 0}

    # The base, whole and as a stream; the first request waits until the model is loaded.
    whole = client.chat.completions.create(model=base.model_id, **ask)
    plain = whole.choices[0].message.content
    stream = client.chat.completions.create(model=base.model_id, stream=True, **ask)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == plain
    assert (whole.model, whole.usage and whole.usage.completion_tokens) == (base.model_id, TOKENS)

    # The tuned model answers as PEFT does, and not as its base.
    answer = client.chat.completions.create(model=tuned.name, **ask)
    assert answer.choices[0].message.content == expected != plain
    assert answer.system_fingerprint != whole.system_fingerprint
    wait_until(lambda: Usage.objects.filter(model=tuned.name, requests=1, errors=0).exists())

    # An adapter whose stored file has changed is refused, by name.
    damaged = register_model(team, base, "ft:groove/starter:acme:bad:Zz9", "adapters/test", tuned.files)
    damaged.files = [file | {"sha256": "0" * 64} for file in damaged.files]
    damaged.save()
    with pytest.raises(openai.InternalServerError, match="its SHA-256 differs"):
        client.chat.completions.create(model=damaged.name, **ask)

    # A caller who leaves stops the generation: the server is idle again, long before 400 tokens.
    leaving = client.chat.completions.create(
        model=base.model_id, messages=MESSAGES, max_completion_tokens=400, stream=True
    )
    next(iter(leaving))
    leaving.close()

    # The process is killed while streams run: each of them ends, and the same name answers again.
    with ThreadPoolExecutor(STREAMS) as pool:
        streams = [pool.submit(finish_stream, client, tuned.name) for _ in range(STREAMS)]
        time.sleep(0.5)
        find_process("workers.serve").kill()
        endings = {each.result(timeout=60) for each in streams}
    assert endings <= {"stop", "length", "APIError", "InternalServerError"}
    assert client.chat.completions.create(model=tuned.name, **ask).choices[0].message.content == expected

    # Nobody asks any more.
    server = ModelServer.objects.get()
    assert server.crashes == 1
    wait_until(lambda: ModelServer.objects.get().state == WorkState.FINISHED)
    wait_until(lambda: not [each for each in psutil.process_iter(["cmdline"]) if _serves(each, server)])
    assert not ServedAdapter.objects.filter(loaded_attempt=0, error="").exists()


def _serves(process: psutil.Process, server: ModelServer) -> bool:
    return "workers.serve" in (process.info["cmdline"] or []) and process.ppid() in {
        each.pid for each in psutil.Process().children(recursive=True)
    }


def test_requests_end_and_the_model_answers_again_after_broker_worker_or_web_process_is_killed(
    kill_broker: Callable[[], None],
    start: Callable[..., Process],
    start_worker: Callable[..., Process],
    team: Team,
    alice: User,
    base: BaseModel,
) -> None:
    port = free_port()
    serve = ("uvicorn", "webapp.config.asgi:application", "--port", str(port), "--lifespan", "off")
    web, worker = start(*serve), start_worker("one")
    url = until_up(f"http://127.0.0.1:{port}")
    client = openai.OpenAI(base_url=f"{url}/v1", api_key=make_secret(team, alice), max_retries=0)
    ask: Any = {
        "model": base.model_id,
        "messages": MESSAGES,
        "max_completion_tokens": TOKENS,
        "temperature": 0,
    }
    first = client.chat.completions.create(**ask).choices[0].message.content

    # The broker dies: running streams do not need it, and neither does a request that comes meanwhile.
    def kill_and_ask() -> None:
        kill_broker()
        assert client.chat.completions.create(**ask).choices[0].message.content == first

    assert stream_and_kill(client, base.model_id, kill_and_ask, tokens=160) == {"length"}

    # The node dies with its model server; another node takes over.
    endings = stream_and_kill(client, base.model_id, lambda: os.killpg(worker.pid, signal.SIGKILL))
    assert endings <= {"stop", "length", "APIError", "InternalServerError"}
    start_worker("two")
    assert client.chat.completions.create(**ask).choices[0].message.content == first

    # The web process dies; callers lose their connections, and a new process answers.
    endings = stream_and_kill(client, base.model_id, lambda: os.killpg(web.pid, signal.SIGKILL))
    assert endings <= {"stop", "length", "APIConnectionError", "RemoteProtocolError", "ReadError"}
    start(*serve)
    until_up(url)
    assert client.chat.completions.create(**ask).choices[0].message.content == first
