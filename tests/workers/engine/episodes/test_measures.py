"""Metrics of episodes count what happened in them."""

from __future__ import annotations

from typing import Any

from workers.contract.environments import EpisodeRecord, ToolCall, Turn
from workers.engine.episodes.measures import count_determinism_failures, measure_episodes


def call(name: str, *results: str, **arguments: Any) -> list[Turn]:
    """One call, its result, and the error of the result if there are two texts."""
    text, error = (*results, "")[:2]
    made = ToolCall(name=name, arguments=arguments)
    return [
        Turn(role="assistant", content="", tool_calls=[made]),
        Turn(role="tool", tool=name, content=text, error=error),
    ]


def record(*turns: list[Turn], end: str = "finished") -> EpisodeRecord:
    return EpisodeRecord(turns=[turn for part in turns for turn in part], end=end, reward=0.0)  # type: ignore[arg-type]


def test_turns_calls_errors_and_ends_are_counted():
    first = record(call("get", "7", id=1), call("get", "7", id=1), call("close", "done"))
    second = record(call("get", "no", "not found", id=9), call("fly", "no", "no tool"), end="call_limit")
    values = measure_episodes([("a", first), ("a", second)], ["get", "close", "put"])
    assert values["episodes/turns"] == values["episodes/tool_calls"] == 2.5
    assert values["episodes/tool_error_share"] == 0.4
    assert values["episodes/repeated_call_share"] == 0.2
    assert (values["episodes/end/finished"], values["episodes/end/call_limit"]) == (0.5, 0.5)
    assert (values["episodes/end/answered"], values["episodes/cut_share"]) == (0.0, 0.5)
    assert (values["tools/get/calls"], values["tools/get/error_share"]) == (1.5, 1 / 3)
    assert (values["tools/put/calls"], values["tools/unknown/error_share"]) == (0.0, 1.0)
    assert "tools/put/error_share" not in values
    assert measure_episodes([], ["get"]) == {}


def test_an_environment_that_answers_differently_to_the_same_acts_is_found():
    usual = record(call("get", "7", id=1), call("get", "8", id=1))
    assert (
        count_determinism_failures([("a", usual), ("a", usual), ("b", record(call("get", "9", id=1)))]) == 0
    )
    moody = record(call("get", "7", id=1), call("get", "9", id=1))
    assert count_determinism_failures([("a", usual), ("a", moody), ("a", usual)]) == 1


def test_a_users_reply_may_depend_on_all_that_the_model_said():
    def talk(said: str, reply: str) -> EpisodeRecord:
        turns = [Turn(role="assistant", content=said), Turn(role="user", content=reply)]
        return record(turns, end="answered")

    assert count_determinism_failures([("a", talk("yes", "good")), ("a", talk("no", "why?"))]) == 0
    assert count_determinism_failures([("a", talk("yes", "good")), ("a", talk("yes", "why?"))]) == 1
