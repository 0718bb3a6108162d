"""The program inside the sandbox that plays many sessions of one environment.

It takes the place of ``worker.py`` behind the same walls (``workers/grading/sandbox``), from which it may
import; it cannot read Groove's files. A frame holds a list of orders, ``[kind, session, ...]``; each is
answered with a frame of its own as soon as it is done, so that the host knows which order a death belongs to.
"""

from __future__ import annotations

import json
import sys
import traceback
import types
from collections.abc import Callable
from typing import Any

from workers.grading.sandbox.worker import (
    Config,
    Guard,
    Limits,
    Namespace,
    Pipes,
    Reply,
    reseed,
    show_in_tracebacks,
    to_number,
)

FILE, MODULE = "environment.py", "environment"
SENT_CHARACTERS = 100_000
DETAIL_CHARACTERS = 500
MOST_CALLS = 10  # unless the class says otherwise
SCORING = 1 << 32  # the number of a move that no session reaches


class Session:
    """One object of the environment. Each move starts the random numbers anew, from seed and number."""

    def __init__(self, environment: Any, seed: int) -> None:
        self.environment, self._seed, self._moves = environment, seed, 0

    def move(self) -> None:
        reseed(self._seed + (self._moves << 64))
        self._moves += 1

    def prepare_scoring(self) -> None:
        reseed(self._seed + (SCORING << 64))


class Player(Guard):
    """Holds the sessions. With ``alone`` each gets the source's names anew, so that they share no state."""

    def __init__(self, limits: Limits) -> None:
        super().__init__(limits)
        self._sessions: dict[int, Session] = {}
        self._lines: list[int] = []
        self._orders: dict[str, tuple[Callable[..., Reply], str]] = {
            "splits": (self._list_splits, "list_splits()"),
            "tasks": (self._list_tasks, "list_tasks()"),
            "oracle": (self._find_oracle, "_oracle()"),
            "open": (self._open, "reset()"),
            "call": (self._call, ""),
            "user": (self._answer, "_user()"),
            "score": (self._score, "get_reward()"),
            "close": (self._close, "__del__()"),
        }

    def load(self, source: str, name: str, alone: bool, optional: list[str]) -> Reply:
        """Run the source's top level and describe its class."""
        show_in_tracebacks(FILE, source)
        self._name, self._alone, self._optional = name, alone, frozenset(optional)

        def run() -> Reply:
            self._code = compile(source, FILE, "exec")
            self._class = self._run_source()
            prompt = getattr(self._class, "system_prompt", "")
            most = getattr(self._class, "max_tool_calls", MOST_CALLS)
            if not isinstance(prompt, str):
                raise TypeError(f"system_prompt must be text, it is {type(prompt).__name__}")
            if type(most) is not int or most < 1:
                raise ValueError("max_tool_calls must be a whole number of at least 1")
            return {"system_prompt": prompt, "max_tool_calls": most}

        return self._answer_order(run, self._limits["load_seconds"], "loading the source")

    def play(self, kind: str, *parts: Any) -> Reply:
        """Answer one order."""
        method, what = self._orders[kind]
        if kind == "call":
            what = f"{parts[1]}()"
        seconds = self._limits["load_seconds" if kind in ("splits", "tasks") else "item_seconds"]
        return self._answer_order(lambda: method(*parts), seconds, what)

    def _answer_order(self, run: Callable[[], Reply], seconds: float, what: str) -> Reply:
        self._lines.clear()
        reply = self.run_within(run, seconds, what)
        del reply["stdout"]
        if self._lines:
            reply["line"] = self._lines[-1]
        return reply

    def describe(self, error: BaseException) -> str:
        """Return an error in one line with the line of the source where it was raised."""
        frames = traceback.extract_tb(error.__traceback__)
        self._lines += [frame.lineno for frame in frames if frame.filename == FILE and frame.lineno]
        text = (
            "" if type(error).__name__ == "TimeIsUp" else traceback.format_exception_only(error)[-1].strip()
        )
        return text[:DETAIL_CHARACTERS]

    # --- the source ------------------------------------------------------------------------------

    def _run_source(self) -> Any:
        module = types.ModuleType(MODULE)
        sys.modules[MODULE] = module
        exec(self._code, module.__dict__)  # noqa: S102
        return module.__dict__[self._name]

    def _new_environment(self) -> Any:
        return (self._run_source() if self._alone else self._class)()

    # --- orders ----------------------------------------------------------------------------------

    def _list_splits(self, _: int) -> Reply:
        splits = self._class.list_splits()
        if not isinstance(splits, list) or not all(isinstance(each, str) for each in splits):
            raise TypeError("list_splits() must return a list of names")
        return {"list": splits}

    def _list_tasks(self, _: int, split: str) -> Reply:
        tasks = self._class.list_tasks(split)
        if not isinstance(tasks, list) or not all(isinstance(each, dict) for each in tasks):
            raise TypeError("list_tasks() must return a list of dicts")
        return {"list": json.loads(json.dumps(tasks, allow_nan=False))}

    def _find_oracle(self, _: int, seed: int, task: dict[str, object]) -> Reply:
        session = Session(self._new_environment(), seed)
        session.move()
        session.environment.reset(**task)
        session.move()
        calls = [list(call) for call in session.environment._oracle()]
        return {"list": json.loads(json.dumps(calls, allow_nan=False))}

    def _open(self, number: int, seed: int, task: dict[str, object]) -> Reply:
        session = Session(self._new_environment(), seed)
        session.move()
        prompt = session.environment.reset(**task)
        if not isinstance(prompt, str):
            raise TypeError(f"reset() must return text, it returned {type(prompt).__name__}")
        self._sessions[number] = session
        return {"text": _to_text(prompt)}

    def _call(self, number: int, tool: str, arguments: dict[str, object]) -> Reply:
        session = self._sessions[number]
        session.move()
        reply: Reply
        try:
            reply = {"text": _to_text(getattr(session.environment, tool)(**arguments))}
        except MemoryError:
            raise
        except Exception as error:
            reply = {"failed": self.describe(error)}
        return reply | self._read_state(session.environment)

    def _answer(self, number: int, message: str) -> Reply:
        session = self._sessions[number]
        session.move()
        answer = session.environment._user(message)
        if answer is not None and not isinstance(answer, str):
            raise TypeError(f"_user() must return text or None, it returned {type(answer).__name__}")
        text = None if answer is None else _to_text(answer)
        return {"text": text} | self._read_state(session.environment)

    def _read_state(self, environment: Any) -> Reply:
        """Return whether the episode is over, and the reward of the turn if the environment gives one."""
        state: Reply = {}
        if "_finished" in self._optional and environment._finished():
            state["finished"] = True
        if "_turn_reward" in self._optional:
            reward = environment._turn_reward()
            state["reward"] = None if reward is None else to_number(reward, "_turn_reward()")
        return state

    def _score(self, number: int) -> Reply:
        session = self._sessions[number]
        session.prepare_scoring()
        reward = session.environment.get_reward()
        reply: Reply = {"reward": None if reward is None else to_number(reward, "get_reward()")}
        if "_feedback" in self._optional:
            reply["text"] = _to_text(session.environment._feedback())
        return reply

    def _close(self, number: int) -> Reply:
        self._sessions.pop(number, None)
        return {}


def _to_text(value: object) -> str:
    """Return text as it is and any other value as JSON, cut so that the frame stays small."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, allow_nan=False)
    length = str.__len__(text)
    kept = str.__getitem__(text, slice(0, SENT_CHARACTERS))
    return kept if length <= SENT_CHARACTERS else f"{kept}\n[cut: {length - SENT_CHARACTERS} more characters]"


def main(config: Config, jail: Namespace, requests: int, replies: int) -> None:
    """Serve until the host closes the pipe. ``jail`` is the namespace of ``jail.py``."""
    pipes = Pipes(requests, replies)
    try:
        layers = jail["lock"](config["readable"], config["limits"]["memory_bytes"])
    except jail["JailUnavailable"] as error:
        pipes.send({"unavailable": list(error.args)})
        return
    pipes.send({"layers": layers})
    player = Player(config["limits"])
    start = pipes.receive()
    pipes.send(player.load(start["source"], start["name"], start["alone"], start["optional"]))
    while True:
        for order in pipes.receive():
            pipes.send(player.play(*order))
