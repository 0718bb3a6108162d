"""Sessions of a Python environment in the sandbox: many at once, each with its own fate."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from workers.contract.environments import PythonEnvironment
from workers.contract.json_types import JsonObject
from workers.environments.backend import Call, EnvironmentFault, Session, SessionLost, ToolResult
from workers.environments.python import PythonBackend
from workers.grading.results import Limits

LIMITS = Limits(item_seconds=0.5, grace_seconds=0.5, memory_bytes=512 << 20, reply_bytes=16 << 20)
SOURCE = '''
import os
import random
from typing import Literal

class Desk:
    system_prompt = "You sell."
    max_tool_calls = 30
    last = []

    @classmethod
    def list_splits(cls):
        return ["train", "test"]
    @classmethod
    def list_tasks(cls, split):
        if split == "none":
            raise ValueError("no such split")
        return [{"n": n} for n in range(20)]
    def reset(self, n):
        if n < 0:
            raise ValueError("n is negative")
        self.n, self.calls, self.sold = n, 0, False
        return f"Task {n}: {random.random()}"
    def roll(self, sides: Literal[6, 20]) -> str:
        """Roll a die.

        Args:
            sides: of the die
        """
        self.calls += 1
        return f"{self.calls}: {random.randint(1, sides)}"
    def list_parts(self) -> dict:
        """List parts."""
        return {"parts": [1, 2.5, None]}
    def fail(self) -> str:
        """Fail."""
        raise KeyError("no order")
    def die(self) -> str:
        """End the process."""
        os._exit(3)
    def hang(self) -> str:
        """Never return."""
        while True:
            pass
    def sell(self) -> str:
        """Sell."""
        self.sold = True
        return "sold"
    def _finished(self):
        return self.sold
    def _turn_reward(self):
        return self.calls / 10
    def get_reward(self):
        return float(self.sold) if self.calls < 5 else float("nan")
    def _feedback(self):
        return f"{self.calls} calls"
    def _user(self, message):
        return f"You said {message}." if self.calls else None
    def _oracle(self):
        return [("roll", {"sides": 6}), ("sell", {})]
'''
ROLL: JsonObject = {"sides": 20}


@pytest.fixture(scope="module")
def desk() -> Iterator[PythonBackend]:
    with PythonBackend(PythonEnvironment(source=SOURCE.replace("    last = []\n", "")), LIMITS) as backend:
        yield backend


def open_one(backend: PythonBackend, n: int = 1) -> Session:
    (session,) = backend.open_sessions([{"n": n}])
    assert not isinstance(session, SessionLost), session
    return session


def test_the_class_describes_itself(desk: PythonBackend) -> None:
    assert (desk.system_prompt, desk.max_tool_calls) == ("You sell.", 30)
    assert desk.list_splits() == ["train", "test"]
    assert desk.list_tasks("train")[:2] == [{"n": 0}, {"n": 1}]
    assert desk.find_oracle_calls({"n": 1}) == [("roll", {"sides": 6}), ("sell", {})]
    with pytest.raises(EnvironmentFault, match="no such split") as error:
        desk.list_tasks("none")
    assert error.value.line == 16


def test_an_episode_ends_with_its_first_terminal_call(desk: PythonBackend) -> None:
    session = open_one(desk)
    assert session.prompt.startswith("Task 1: ")
    assert session.reply("hello") is None
    assert session.call("list_parts", {}).text == '{"parts": [1, 2.5, null]}'
    rolled = session.call("roll", ROLL)
    assert (rolled.text[:3], rolled.reward, rolled.finished) == ("1: ", 0.1, False)
    assert session.reply("hello") == "You said hello."
    assert session.call("sell", {}).finished
    refused = session.call("roll", ROLL)
    assert "the episode has ended" in refused.error
    assert refused.text.startswith("Error: ")
    assert session.reply("hello") is None
    score = session.score()
    assert (score.reward, score.feedback) == (1.0, "1 calls")


def test_a_model_reads_what_was_wrong_with_its_call(desk: PythonBackend) -> None:
    session = open_one(desk)
    wrong = [session.call("roll", {"sides": 7}), session.call("nothing", {}), session.call("fail", {})]
    assert [result.text for result in wrong] == [
        "Error: sides must be one of 6, 20, not 7",
        "Error: there is no tool nothing; the tools are roll, list_parts, fail, die, hang, sell",
        "Error: KeyError: 'no order'",
    ]
    assert wrong[2].error.endswith("(line 36)")


def test_calls_beyond_the_environments_limit_are_refused(desk: PythonBackend) -> None:
    session = open_one(desk)
    results = [session.call("list_parts", {}) for _ in range(31)]
    assert [bool(result.error) for result in results] == [False] * 30 + [True]


def test_a_missing_reward_says_why(desk: PythonBackend) -> None:
    session = open_one(desk)
    for _ in range(5):
        session.call("roll", ROLL)
    with pytest.raises(SessionLost, match=r"get_reward\(\) must return a finite number, it returned nan"):
        session.score()


def test_the_same_task_and_calls_give_the_same_observations_beside_others(desk: PythonBackend) -> None:
    def play(tasks: list[int]) -> dict[int, list[str]]:
        sessions = desk.open_sessions([{"n": n} for n in tasks])
        seen: dict[int, list[str]] = {n: [] for n in tasks}
        for _ in range(3):
            results = desk.call_all(
                [Call(s, "roll", ROLL) for s in sessions if not isinstance(s, SessionLost)]
            )
            for n, result in zip(tasks, results, strict=True):
                assert isinstance(result, ToolResult)
                seen[n].append(result.text)
        return seen

    first, second = play([1, 2, 3]), play([3, 9, 1])
    assert first[1] == second[1]
    assert first[3] == second[3]
    assert first[1] != first[2]


def test_a_session_that_dies_or_hangs_costs_only_its_own_episode(desk: PythonBackend) -> None:
    tasks: list[JsonObject] = [{"n": n} for n in (-1, *range(1, 40))]
    opened = desk.open_sessions(tasks)
    assert isinstance(opened[0], SessionLost)
    assert "n is negative" in str(opened[0])
    sessions = [session for session in opened if not isinstance(session, SessionLost)]
    desk.call_all([Call(session, "roll", ROLL) for session in sessions])
    harm = {3: "die", 11: "die", 20: "hang"}
    results = desk.call_all(
        [Call(s, harm.get(n, "roll"), {} if n in harm else ROLL) for n, s in enumerate(sessions)]
    )
    lost = {n: str(result) for n, result in enumerate(results) if isinstance(result, SessionLost)}
    assert lost == {
        3: "the process ended (exit status 3)",
        11: "the process ended (exit status 3)",
        20: "hang() took longer than 0.5 seconds and was stopped (line 42)",
    }
    assert all(isinstance(r, SessionLost) or r.text.startswith("2: ") for r in results)
    scores = desk.score_all(sessions)
    assert [n for n, score in enumerate(scores) if isinstance(score, SessionLost)] == [3, 11, 20]


def test_a_session_that_cannot_be_restored_is_lost_with_the_reason() -> None:
    source = SOURCE.replace("random.randint(1, sides)", "os.urandom(8)")
    with PythonBackend(PythonEnvironment(source=source.replace("    last = []\n", "")), LIMITS) as backend:
        first, second = open_one(backend, 1), open_one(backend, 2)
        second.call("roll", ROLL)
        with pytest.raises(SessionLost, match="exit status 3"):
            first.call("die", {})
        with pytest.raises(SessionLost, match="the environment is not deterministic"):
            second.call("roll", ROLL)


@pytest.mark.parametrize(
    ("old", "new", "cause"),
    [
        ('("sell", {})]', '("buy", {})]', "there is no tool buy"),
        ('("sell", {})]', '"sell"]', "no list of"),
        ('("roll", {"sides": 6})', '("roll", {"sides": 7})', "sides must be one of 6, 20"),
        ('{"n": n} for', '{"n": n, "x": "\\0"} for', "a task of train holds NUL"),
        ('{"n": n} for', '{"n": float("nan")} for', "not JSON compliant"),
        ('{"n": n} for', "n for", "must return a list of dicts"),
    ],
)
def test_a_wrong_list_is_named_and_the_environment_goes_on(old: str, new: str, cause: str) -> None:
    source = SOURCE.replace(old, new)
    assert source != SOURCE
    with PythonBackend(PythonEnvironment(source=source), LIMITS) as backend:
        with pytest.raises(EnvironmentFault, match=cause):
            (backend.list_tasks("train"), backend.find_oracle_calls({"n": 1}))
        assert backend.list_splits() == ["train", "test"]
        assert open_one(backend).call("list_parts", {}).text


def test_state_on_the_class_stays_within_a_session() -> None:
    source = SOURCE.replace("self.calls += 1", "self.calls += 1; self.last.append(self.n)").replace(
        '{"parts": [1, 2.5, None]}', "self.last"
    )
    with PythonBackend(PythonEnvironment(source=source), LIMITS) as backend:
        first, second = open_one(backend, 1), open_one(backend, 2)
        first.call("roll", ROLL)
        second.call("roll", ROLL)
        assert [first.call("list_parts", {}).text, second.call("list_parts", {}).text] == ["[1]", "[2]"]


def test_a_source_that_does_not_load_is_named_with_its_line() -> None:
    source = SOURCE + "x = 1 / 0"
    with (
        pytest.raises(EnvironmentFault, match="ZeroDivisionError") as error,
        PythonBackend(PythonEnvironment(source=source), LIMITS),
    ):
        pass
    assert error.value.line == len(source.splitlines())
