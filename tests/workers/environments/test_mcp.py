"""Tools of MCP servers, at a server of MCP's own package."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.workers.environments.servers import run_proxy, run_server
from workers.contract.environments import McpEnvironment
from workers.environments import open_backend
from workers.environments.backend import (
    Backend,
    Call,
    EnvironmentFault,
    Score,
    Session,
    SessionLost,
    ToolResult,
)

SECRETS = {"key": "s3cret-of-the-test"}


@pytest.fixture(scope="module", params=["", "JSON"], ids=["events", "json"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    with run_server("mcp_server.py", **({request.param: "1"} if request.param else {})) as url:
        yield f"{url}/mcp"


@pytest.fixture(autouse=True)
def _reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROOVE_OUTBOUND_ALLOW", "127.0.0.1")


@pytest.fixture
def counter(url: str) -> Iterator[Backend]:
    with open_backend(McpEnvironment(url=url, secret="key"), SECRETS) as backend:
        yield backend


def start(backend: Backend, number: int) -> list[Session]:
    opened = backend.open_sessions([{}] * number)
    return [each for each in opened if not isinstance(each, SessionLost)]


def test_each_session_has_a_connection_of_its_own(counter: Backend) -> None:
    first, second = start(counter, 2)
    assert first.call("add", {"amount": 3}).text == "total 3"
    assert second.call("add", {"amount": 1}).text == "total 1"
    assert first.call("add", {"amount": 2}).text == "total 5"
    assert first.prompt == ""
    assert first.score() == Score(None)
    first.close()
    assert second.call("add", {"amount": 1}).text == "total 2"


def test_tools_come_from_the_server_and_tasks_do_not(counter: Backend) -> None:
    tools = {tool["function"]["name"]: tool["function"] for tool in counter.list_tools()}  # type: ignore[index, call-overload]
    assert set(tools) == {"add", "fail", "draw", "wait", "ask_back", "count"}
    assert tools["add"]["description"] == "Add to the total of this connection."
    assert tools["add"]["parameters"]["required"] == ["amount"]
    assert counter.list_splits() == []


def test_failed_calls_are_told_to_the_model(counter: Backend) -> None:
    (session,) = start(counter, 1)
    assert "valid integer" in session.call("add", {"amount": "much"}).error
    assert "no order\N{REPLACEMENT CHARACTER}" in session.call("fail", {}).text
    assert "the tools are" in session.call("fly", {}).error
    assert session.call("draw", {}).text == "[image: not text]"


@pytest.mark.parametrize("url", [""], indirect=True, ids=["events"])
def test_a_server_that_asks_back_during_a_call_gets_an_answer(counter: Backend) -> None:
    (session,) = start(counter, 1)
    assert session.call("ask_back", {}).text == "answered"


def test_calls_of_many_sessions_run_at_the_same_time(counter: Backend) -> None:
    calls = [Call(each, "wait", {"seconds": 0.3}) for each in start(counter, 12)]
    started = time.perf_counter()
    results = counter.call_all(calls)
    assert time.perf_counter() - started < 2
    assert [each.text for each in results if isinstance(each, ToolResult)] == ["waited"] * 12


def test_a_call_that_breaks_off_is_not_made_twice(url: str) -> None:
    with run_proxy(url.removesuffix("/mcp"), b"total 100", times=1) as proxy:
        definition = McpEnvironment(url=f"{proxy}/mcp", secret="key")
        with open_backend(definition, SECRETS) as backend:
            cut, other = start(backend, 2)
            with pytest.raises(SessionLost, match="cannot be reached"):
                cut.call("add", {"amount": 100})
            assert other.call("count", {"amount": 100}).text == "1"


@pytest.mark.parametrize(
    ("path", "secret", "cause"),
    [("/mcp", "wrong", "status 401"), ("/elsewhere", SECRETS["key"], "status 404")],
)
def test_a_connection_that_cannot_work_says_why(url: str, path: str, secret: str, cause: str) -> None:
    definition = McpEnvironment(url=url.replace("/mcp", path), secret="key")
    with pytest.raises(EnvironmentFault, match=cause), open_backend(definition, {"key": secret}):
        pass
