"""Environments of the Open Reward Standard, at the server of its own package."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.workers.environments.servers import run_proxy, run_server
from workers.contract.environments import OrsEnvironment
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


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with run_server("ors_server.py") as url:
        yield url


@pytest.fixture(autouse=True)
def _reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROOVE_OUTBOUND_ALLOW", "127.0.0.1")


@pytest.fixture
def counter(url: str) -> Iterator[Backend]:
    with open_backend(OrsEnvironment(url=url, environment="Counter", max_tool_calls=5)) as backend:
        yield backend


def start(backend: Backend, target: int) -> Session:
    (session,) = backend.open_sessions([{"target": target}])
    assert not isinstance(session, SessionLost), session
    return session


def test_tools_splits_and_tasks_come_from_the_server(counter: Backend) -> None:
    tools = {tool["function"]["name"]: tool["function"] for tool in counter.list_tools()}  # type: ignore[index, call-overload]
    assert set(tools) == {"add", "submit", "recite", "fail", "wait", "count"}
    assert tools["add"]["description"] == "Add to the total."
    assert tools["add"]["parameters"]["properties"]["amount"]["type"] == "integer"
    assert counter.list_splits() == ["train", "hard"]
    assert [task["target"] for task in counter.list_tasks("train")] == [0, 1, 2]
    assert counter.list_tasks("hard")[0]["note"] == "a\N{REPLACEMENT CHARACTER}b"


def test_tasks_by_index_are_listed_too(url: str) -> None:
    with open_backend(OrsEnvironment(url=url, environment="indexed")) as backend:
        assert backend.list_tasks("train") == [{"target": 10}, {"target": 11}]


def test_an_episode_earns_its_last_reward_and_ends_with_the_first_terminal_call(counter: Backend) -> None:
    session = start(counter, 5)
    assert session.prompt == "Reach 5.\n[image: not text]"
    assert session.call("add", {"amount": 3}).text == "total 3"
    assert session.score() == Score(0.25)
    assert session.call("add", {"amount": 2}).reward == 0.25
    assert session.call("submit", {}).finished
    again = session.call("submit", {})
    assert again.finished
    assert "ended" in again.error
    assert session.score() == Score(1.0)
    session.close()
    session.close()


def test_failed_calls_are_told_to_the_model(counter: Backend) -> None:
    session = start(counter, 1)
    assert "valid integer" in session.call("add", {"amount": "much"}).error
    assert "no order" in session.call("fail", {}).text
    assert "the tools are" in session.call("fly", {}).error
    assert "not finite" in session.call("add", {"amount": float("nan")}).error
    assert session.call("add", {"amount": 1}).text == "total 1"
    assert "no tool calls are left" in session.call("submit", {}).error


def test_long_results_arrive_whole_and_harmless(counter: Backend) -> None:
    assert start(counter, 1).call("recite", {}).text == "a b \N{REPLACEMENT CHARACTER}\n" + "    x" * 4000


def test_calls_of_many_sessions_run_at_the_same_time(counter: Backend) -> None:
    sessions = counter.open_sessions([{"target": target} for target in range(12)])
    calls = [Call(each, "wait", {"seconds": 0.3}) for each in sessions if not isinstance(each, SessionLost)]
    started = time.perf_counter()
    results = counter.call_all(calls)
    assert time.perf_counter() - started < 1.5
    assert [each.text for each in results if isinstance(each, ToolResult)] == ["waited"] * 12


def test_a_session_that_cannot_be_set_up_is_lost_alone(counter: Backend) -> None:
    good, bad = counter.open_sessions([{"target": 1}, {"target": -1}])
    assert not isinstance(good, SessionLost)
    assert isinstance(bad, SessionLost)
    assert "status 500" in str(bad)


def test_a_call_that_takes_too_long_loses_its_session_only(url: str) -> None:
    with open_backend(OrsEnvironment(url=url, environment="counter", timeout_seconds=0.5)) as backend:
        slow, other = start(backend, 1), start(backend, 1)
        lost, fine = backend.call_all([Call(slow, "wait", {"seconds": 3}), Call(other, "add", {"amount": 1})])
        assert "within 0.5 s" in str(lost)
        assert isinstance(fine, ToolResult)
        first, second = backend.score_all([slow, other])
        assert isinstance(first, SessionLost)
        assert second == Score(0.25)


def test_a_call_that_breaks_off_is_taken_up_without_a_second_call(url: str) -> None:
    with run_proxy(url, b'data: {"ok"', times=2) as proxy:
        definition = OrsEnvironment(url=proxy, environment="counter")
        with open_backend(definition) as backend:
            session = start(backend, 1)
            before = int(session.call("count", {}).text)
            assert session.call("add", {"amount": 1}).text == "total 1"
            assert int(session.call("count", {}).text) == before + 1


@pytest.mark.parametrize(
    ("change", "cause", "remedy"),
    [
        ({"environment": "chess"}, "no environment chess", "counter, indexed"),
        ({"environment": ""}, "not one environment", "counter, indexed"),
        ({"url": "http://127.0.0.1:9"}, "connection refused", "server runs"),
        ({"url": "http://10.0.0.1"}, "not a public address", "Change the URL"),
        ({"secret": "key"}, "secret key is not stored", "Enter it again"),
    ],
)
def test_a_connection_that_cannot_work_says_why(
    url: str, change: dict[str, str], cause: str, remedy: str
) -> None:
    definition = OrsEnvironment.model_validate({"url": url, **change})
    with pytest.raises(EnvironmentFault) as fault, open_backend(definition):
        pass
    assert cause in fault.value.cause
    assert remedy in fault.value.remedy


def test_a_server_that_stops_is_at_fault_for_all_sessions(url: str) -> None:
    with ExitStack() as stack:
        with run_proxy(url) as proxy:
            backend = stack.enter_context(open_backend(OrsEnvironment(url=proxy, environment="counter")))
            session = start(backend, 1)
        with pytest.raises(SessionLost, match="cannot be reached"):
            session.call("add", {"amount": 1})
        with pytest.raises(EnvironmentFault, match="cannot be reached"):
            backend.open_sessions([{"target": 1}])


def test_a_secret_is_not_sent_in_the_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROOVE_OUTBOUND_ALLOW", "")
    definition = OrsEnvironment(url="http://example.com", secret="key")
    with pytest.raises(EnvironmentFault, match="https"), open_backend(definition, {"key": "s3cret"}):
        pass
