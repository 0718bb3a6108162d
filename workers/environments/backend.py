"""The interface of every kind of environment: a backend opens sessions, a session plays one task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from workers.contract.json_types import JsonObject


class EnvironmentFault(Exception):
    """The environment cannot be used: its source, server or task list is at fault.

    ``line`` is a line of the source, from 1, or None.
    """

    def __init__(self, cause: str, remedy: str, line: int | None = None) -> None:
        super().__init__(cause)
        self.cause, self.remedy, self.line = cause, remedy, line


class SessionLost(Exception):
    """The session died or overran a limit. Its episode has no reward; other sessions go on."""


@dataclass(frozen=True)
class ToolResult:
    """Result of a tool call or of a scripted user's turn.

    ``error`` is set if the call failed in a way that the model may see and correct (unknown tool, wrong
    arguments, an exception of the tool); ``text`` then says so. ``finished`` after a terminal call: the host
    refuses every later call of the session.
    """

    text: str
    error: str = ""
    reward: float | None = None
    finished: bool = False
    seconds: float = 0.0


@dataclass(frozen=True)
class Score:
    """Outcome of a session. ``reward`` is None if it cannot be scored."""

    reward: float | None
    metrics: dict[str, float] = field(default_factory=dict)
    feedback: str = ""


@dataclass(frozen=True)
class Call:
    """A tool call to make in an open session."""

    session: Session
    name: str
    arguments: JsonObject


class Session(Protocol):
    """One task in progress. Methods raise ``SessionLost``.

    ``prompt`` is what ``reset`` returned; empty if there is none and the row's messages are the prompt.
    """

    prompt: str

    def call(self, name: str, arguments: JsonObject) -> ToolResult:
        """Call a tool."""

    def reply(self, message: str) -> str | None:
        """Return the scripted user's answer to a message without tool calls; None ends the episode."""

    def score(self) -> Score:
        """Return the outcome so far."""

    def close(self) -> None:
        """Free the session; it may be called twice."""


class Backend(Protocol):
    """An environment, ready to be played. Use as a context manager. Methods raise ``EnvironmentFault``."""

    system_prompt: str
    max_tool_calls: int

    def __enter__(self) -> Backend: ...

    def __exit__(self, *_: object) -> None: ...

    def list_tools(self) -> list[JsonObject]:
        """Return the tools as OpenAI's function tools, which chat templates render."""

    def list_splits(self) -> list[str]:
        """Return the names of the splits."""

    def list_tasks(self, split: str) -> list[JsonObject]:
        """Return the tasks of a split: keyword arguments of a session, as JSON."""

    def open_sessions(self, tasks: Sequence[JsonObject]) -> list[Session | SessionLost]:
        """Open a session for each task, in their order."""

    def call_all(self, calls: Sequence[Call]) -> list[ToolResult | SessionLost]:
        """Make calls of different sessions at the same time; results in their order."""

    def score_all(self, sessions: Sequence[Session]) -> list[Score | SessionLost]:
        """Score sessions at the same time."""

    def find_oracle_calls(self, task: JsonObject) -> list[tuple[str, JsonObject]] | None:
        """Return tool calls that solve the task; None if the environment has no oracle."""
