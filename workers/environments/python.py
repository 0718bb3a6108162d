"""Environments from a Python file: parsed here, played in the sandbox."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from importlib import resources
from typing import Any, Self, TypeVar

from workers.contract.environments import PythonEnvironment
from workers.contract.json_types import JsonObject
from workers.environments.backend import Call, EnvironmentFault, Score, Session, SessionLost, ToolResult
from workers.environments.pool import Answer, Order, Pool
from workers.environments.source import read_class
from workers.environments.text import clean_text, is_storable
from workers.environments.tools import find_mismatch
from workers.grading.results import Limits
from workers.grading.sample import nested_too_deeply
from workers.grading.sandbox.process import Broken

LIMITS = Limits(reply_bytes=16 << 20)
MOST_CHARACTERS, MARK_CHARACTERS = 100_000, 100
MOST_TASKS = 100_000
ENDED = "the episode has ended; no call is possible any more"
PAIR = 2
ORACLE_REMEDY = "Return calls of the environment's own tools, with arguments that fit their hints."
Result = TypeVar("Result")
Field = TypeVar("Field")
NO_CALLS_LEFT = "no tool calls are left in this episode"


class PythonSession:
    """One object of the environment, in a process of the pool."""

    def __init__(self, backend: PythonBackend, task: JsonObject) -> None:
        self.prompt = ""
        self._backend, self._task = backend, task
        self.hosted = backend.pool.new_session()
        self._calls, self._finished = 0, False

    def call(self, name: str, arguments: JsonObject) -> ToolResult:
        """Call a tool."""
        return _raise_lost(self._backend.call_all([Call(self, name, arguments)])[0])

    def reply(self, message: str) -> str | None:
        """Return the scripted user's answer to a message without tool calls; None ends the episode."""
        if self._finished or "_user" not in self._backend.optional:
            return None
        order = Order(self.hosted, _encode("user", self.hosted.number, message), _parse_answer, kept=True)
        answer, self._finished = _raise_lost(self._backend.pool.run([order])[0])
        return answer

    def score(self) -> Score:
        """Return the outcome so far."""
        return _raise_lost(self._backend.score_all([self])[0])

    def close(self) -> None:
        """Free the session; it may be called twice."""
        self._backend.pool.end_session(self.hosted)

    def open_order(self) -> Order[str]:
        """Return the order that creates the object and resets it."""
        seed = find_seed(self._task)
        text = _encode("open", self.hosted.number, seed, self._task)
        return Order(self.hosted, text, _parse_prompt, kept=True)

    def call_order(self, name: str, arguments: JsonObject) -> Order[ToolResult] | ToolResult:
        """Return the order of a call, or the result of a call that must not be made."""
        if self._finished:
            return ToolResult(f"Error: {ENDED}", ENDED, finished=True)
        self._calls += 1
        refusal = self._backend.find_refusal(name, arguments)
        if self._calls > self._backend.max_tool_calls:
            refusal = NO_CALLS_LEFT
        if refusal:
            return ToolResult(f"Error: {refusal}", refusal)
        text = _encode("call", self.hosted.number, name, arguments)
        return Order(self.hosted, text, _parse_result, kept=True)

    def take(self, result: ToolResult | SessionLost) -> None:
        """Note what a call did."""
        self._finished = self._finished or (isinstance(result, ToolResult) and result.finished)

    def score_order(self) -> Order[Score]:
        """Return the order that asks for the reward."""
        return Order(self.hosted, f'["score",{self.hosted.number}]', _parse_score)


class PythonBackend:
    """The environment that a Python file defines. One thread at a time may use it."""

    system_prompt = ""
    max_tool_calls = 1

    def __init__(self, environment: PythonEnvironment, limits: Limits = LIMITS) -> None:
        self._described = read_class(environment.source)
        self.optional = self._described.optional
        self._tools = {_name_tool(tool): tool for tool in self._described.tools}
        self._limits = limits
        program = resources.files("workers.environments").joinpath("player.py").read_text()
        self.pool = Pool(environment.source, self._described, limits, program)

    def __enter__(self) -> Self:
        try:
            answer = self.pool.start()
        except EnvironmentFault:
            self.pool.close()
            raise
        prompt, most = answer.get("system_prompt"), answer.get("max_tool_calls")
        if not isinstance(prompt, str) or type(most) is not int:
            self.pool.close()
            raise EnvironmentFault("the process sent an answer in no known form", "Remove what writes to it.")
        self.system_prompt, self.max_tool_calls = clean_text(prompt, MOST_CHARACTERS), most
        return self

    def __exit__(self, *_: object) -> None:
        self.pool.close()

    def list_tools(self) -> list[JsonObject]:
        """Return the tools as OpenAI's function tools, which chat templates render."""
        return list(self._tools.values())

    def list_splits(self) -> list[str]:
        """Return the names of the splits."""
        return [clean_text(str(name), MOST_CHARACTERS) for name in self._ask("splits")]

    def list_tasks(self, split: str) -> list[JsonObject]:
        """Return the tasks of a split: keyword arguments of a session, as JSON."""
        tasks = self._ask("tasks", split)
        if len(tasks) > MOST_TASKS:
            raise EnvironmentFault(f"{split} has {len(tasks)} tasks", f"Return {MOST_TASKS} at most.")
        if not all(isinstance(task, dict) for task in tasks):
            raise EnvironmentFault("list_tasks() returned no list of dicts", "Return a dict for each task.")
        if not is_storable(tasks):
            cause = f"a task of {split} holds NUL or half of a surrogate pair"
            raise EnvironmentFault(cause, "Leave such characters out of tasks.")
        return tasks

    def find_oracle_calls(self, task: JsonObject) -> list[tuple[str, JsonObject]] | None:
        """Return tool calls that solve the task; None if the environment has no oracle."""
        if "_oracle" not in self.optional:
            return None
        calls: list[tuple[str, JsonObject]] = []
        for call in self._ask("oracle", find_seed(task), task):
            name, arguments = call if isinstance(call, list) and len(call) == PAIR else (None, None)
            if not isinstance(name, str) or not isinstance(arguments, dict):
                raise EnvironmentFault("_oracle() returned no list of (tool, arguments)", ORACLE_REMEDY)
            refusal = self.find_refusal(name, arguments)
            if refusal:
                raise EnvironmentFault(f"_oracle() makes a call that is refused: {refusal}", ORACLE_REMEDY)
            calls.append((name, arguments))
        return calls

    def open_sessions(self, tasks: Sequence[JsonObject]) -> list[Session | SessionLost]:
        """Open a session for each task, in their order."""
        sessions = [PythonSession(self, task) for task in tasks]
        opened: list[Session | SessionLost] = []
        prompts = self.pool.run([session.open_order() for session in sessions])
        for session, prompt in zip(sessions, prompts, strict=True):
            if isinstance(prompt, SessionLost):
                session.close()
                opened.append(prompt)
            else:
                session.prompt = prompt
                opened.append(session)
        return opened

    def call_all(self, calls: Sequence[Call]) -> list[ToolResult | SessionLost]:
        """Make calls of different sessions at the same time; results in their order."""
        sessions = [_own(call.session) for call in calls]
        made = [s.call_order(call.name, call.arguments) for s, call in zip(sessions, calls, strict=True)]
        played = iter(self.pool.run([order for order in made if isinstance(order, Order)]))
        results = [next(played) if isinstance(order, Order) else order for order in made]
        for session, result in zip(sessions, results, strict=True):
            session.take(result)
        return results

    def score_all(self, sessions: Sequence[Session]) -> list[Score | SessionLost]:
        """Score sessions at the same time."""
        return self.pool.run([_own(session).score_order() for session in sessions])

    def find_refusal(self, name: str, arguments: JsonObject) -> str:
        """Return why a call must not be made; empty if it may. The model reads it."""
        tool = self._tools.get(name)
        if tool is None:
            return f"there is no tool {clean_text(name, 60)}; the tools are {', '.join(self._tools)}"
        if nested_too_deeply(arguments):
            return f"the arguments of {name} are nested too deeply"
        return clean_text(find_mismatch(tool, arguments), MOST_CHARACTERS)

    def _ask(self, kind: str, *parts: object) -> list[Any]:
        """Ask for a list that concerns no session. Raises ``EnvironmentFault``."""
        hosted = self.pool.new_session()
        seconds = self._limits.load_seconds if kind in ("splits", "tasks") else None
        order = Order(hosted, _encode(kind, hosted.number, *parts), _parse_list, seconds=seconds)
        (answer,) = self.pool.run([order])
        self.pool.end_session(hosted)
        if isinstance(answer, SessionLost):
            raise EnvironmentFault(hosted.lost, "Correct the line.", hosted.line) from answer
        return answer


def find_seed(task: JsonObject) -> int:
    """Return the seed of a task's random numbers."""
    content = json.dumps(task, sort_keys=True, separators=(",", ":")).encode()
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "big")


def _own(session: Session) -> PythonSession:
    if not isinstance(session, PythonSession):
        raise TypeError("the session belongs to another kind of environment")
    return session


def _name_tool(tool: JsonObject) -> str:
    function = tool["function"]
    assert isinstance(function, dict)
    return str(function["name"])


def _encode(*parts: object) -> str:
    return json.dumps(parts, separators=(",", ":"))


def _raise_lost(result: Result | SessionLost) -> Result:
    if isinstance(result, SessionLost):
        raise result
    return result


# --- answers of the process, which are untrusted ---------------------------------------------------


def _read(answer: Answer, name: str, kind: type[Field]) -> Field:
    value = answer.get(name)
    if not isinstance(value, kind):
        raise Broken("the process sent an answer in no known form")
    return value


def _read_text(answer: Answer, name: str = "text") -> str:
    return clean_text(_read(answer, name, str), MOST_CHARACTERS + MARK_CHARACTERS)


def _read_reward(answer: Answer) -> float | None:
    reward = answer.get("reward")
    if reward is None:
        return None
    if type(reward) is not float or not math.isfinite(reward):
        raise Broken("the process sent a reward that is no finite number")
    return reward


def _parse_prompt(answer: Answer) -> str:
    return _read_text(answer)


def _parse_result(answer: Answer) -> ToolResult:
    failed = _read_text(answer, "failed") if "failed" in answer else ""
    text = f"Error: {failed}" if failed else _read_text(answer)
    place = f" (line {answer['line']})" if failed and type(answer.get("line")) is int else ""
    finished, seconds = answer.get("finished") is True, _read(answer, "seconds", float)
    return ToolResult(text, failed + place, _read_reward(answer), finished, seconds)


def _parse_answer(answer: Answer) -> tuple[str | None, bool]:
    text = None if answer.get("text") is None else _read_text(answer)
    return text, answer.get("finished") is True


def _parse_score(answer: Answer) -> Score:
    feedback = _read_text(answer) if "text" in answer else ""
    return Score(_read_reward(answer), feedback=feedback)


def _parse_list(answer: Answer) -> list[Any]:
    return _read(answer, "list", list)
