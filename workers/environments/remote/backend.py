"""A backend whose sessions live at a server: calls of many sessions at once, refusals, lost sessions."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, Generic, Self, TypeVar

from workers.contract.environments import ServerEnvironment
from workers.contract.json_types import JsonObject, JsonValue
from workers.environments.backend import Call, EnvironmentFault, Score, Session, SessionLost, ToolResult
from workers.environments.remote.client import LOG, RequestFailed, ServerClient
from workers.environments.remote.tools import describe_block
from workers.environments.text import clean_text
from workers.grading.sample import nested_too_deeply
from workers.outbound.loop import Loop

MOST_CHARACTERS = 100_000
MOST_TASKS = 100_000
PING_SECONDS = 60.0  # servers forget sessions that are silent for 15 minutes (ORS) or 30 (MCP)
CLOSE_SECONDS = 10.0
FORGOTTEN = (404, 410)
ENDED = "the episode has ended; no call is possible any more"
NO_CALLS_LEFT = "no tool calls are left in this episode"
Result = TypeVar("Result")
Definition = TypeVar("Definition", bound=ServerEnvironment)


class RemoteSession:
    """A session at a server, named by ``headers``. The first terminal call wins; later ones are refused."""

    def __init__(self, backend: RemoteBackend[Any], headers: Mapping[str, str], prompt: str = "") -> None:
        self.headers, self.prompt = headers, clean_text(prompt, MOST_CHARACTERS)
        self.lost = ""
        self._backend = backend
        self._calls, self._finished = 0, False
        self._reward: float | None = None

    def call(self, name: str, arguments: JsonObject) -> ToolResult:
        """Call a tool."""
        return _raise_lost(self._backend.call_all([Call(self, name, arguments)])[0])

    def reply(self, message: str) -> str | None:
        """Return None: servers have no scripted user."""
        return None

    def score(self) -> Score:
        """Return the last reward that a call gave."""
        if self.lost:
            raise SessionLost(self.lost)
        return Score(self._reward)

    def close(self) -> None:
        """Free the session; it may be called twice."""
        self._backend.close_session(self)

    def find_refusal(self, name: str, arguments: JsonObject) -> str:
        """Return why a call must not be made; empty if it may, which then counts. The model reads it."""
        if self._finished:
            return ENDED
        self._calls += 1
        if self._calls > self._backend.max_tool_calls:
            return NO_CALLS_LEFT
        return self._backend.find_mismatch(name, arguments)

    def take(self, result: ToolResult) -> None:
        """Note what a call did."""
        self._finished = self._finished or result.finished
        if result.reward is not None:
            self._reward = result.reward

    @property
    def finished(self) -> bool:
        """True after a terminal call."""
        return self._finished


class RemoteBackend(ABC, Generic[Definition]):
    """An environment at a server. Subclasses speak one protocol, in the event loop of ``_loop``."""

    system_prompt = ""

    def __init__(self, environment: Definition, secrets: Mapping[str, str]) -> None:
        name = environment.secret
        if name and name not in secrets:
            cause = f"the secret {clean_text(name, 100)} is not stored, or cannot be read"
            raise EnvironmentFault(cause, "Enter it again on the page of the connection.")
        self.environment = environment
        self.max_tool_calls = environment.max_tool_calls
        self._secret = secrets.get(name, "") if name else ""
        self._tools: dict[str, JsonObject] = {}
        self._open: set[RemoteSession] = set()
        self._pinging: Future[None] | None = None

    # --- of a protocol ---------------------------------------------------------------------------------

    @abstractmethod
    def build_headers(self, secret: str) -> dict[str, str]:
        """Return the headers that show the secret."""

    @abstractmethod
    async def load_tools(self) -> dict[str, JsonObject]:
        """Return the tools by name. Raises ``RequestFailed`` and ``EnvironmentFault``."""

    @abstractmethod
    async def load_splits(self) -> list[str]:
        """Return the names of the splits. Raises ``RequestFailed``."""

    @abstractmethod
    async def load_tasks(self, split: str) -> list[JsonObject]:
        """Return the tasks of a split. Raises ``RequestFailed``."""

    @abstractmethod
    async def open(self, task: JsonObject) -> RemoteSession:
        """Open a session at the server. Raises ``RequestFailed``."""

    @abstractmethod
    async def send_call(self, session: RemoteSession, name: str, arguments: JsonObject) -> ToolResult:
        """Make a call. Raises ``RequestFailed`` if the session is lost by it."""

    @abstractmethod
    async def ping(self, session: RemoteSession) -> None:
        """Tell the server that the session is in use. Raises ``RequestFailed``."""

    @abstractmethod
    async def end(self, session: RemoteSession) -> None:
        """Free the session at the server. Raises ``RequestFailed``."""

    # --- Backend ---------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        try:
            self.client = ServerClient(
                self.environment, self.build_headers(self._secret) if self._secret else {}
            )
        except RequestFailed as error:
            raise EnvironmentFault(error.cause, error.remedy) from None
        self._loop = Loop("environment")
        try:
            self._tools = self._ask(self.load_tools())
        except BaseException:
            self.__exit__()
            raise
        self._pinging = self._loop.submit(self._ping_forever())
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.submit(self._end_all()).result()
        self._loop.close()

    def list_tools(self) -> list[JsonObject]:
        """Return the tools as OpenAI's function tools, which chat templates render."""
        return list(self._tools.values())

    def list_splits(self) -> list[str]:
        """Return the names of the splits."""
        return [clean_text(name, MOST_CHARACTERS) for name in self._ask(self.load_splits())]

    def list_tasks(self, split: str) -> list[JsonObject]:
        """Return the tasks of a split: keyword arguments of a session, as JSON."""
        tasks = self._ask(self.load_tasks(split))
        if len(tasks) > MOST_TASKS:
            cause = f"the split {clean_text(split, 100)} has more than {MOST_TASKS:,} tasks"
            raise EnvironmentFault(cause, "Let the server offer fewer.")
        return tasks

    def find_oracle_calls(self, task: JsonObject) -> list[tuple[str, JsonObject]] | None:
        """Return None: servers have no oracle."""
        return None

    def open_sessions(self, tasks: Sequence[JsonObject]) -> list[Session | SessionLost]:
        """Open a session for each task. Raises ``EnvironmentFault`` if the server takes none at all."""
        opened = self._run_all([_catch(self.open(task)) for task in tasks])
        failures = [each for each in opened if isinstance(each, RequestFailed)]
        if failures and len(failures) == len(opened) and all(each.unusable for each in failures):
            raise EnvironmentFault(failures[0].cause, failures[0].remedy)
        self._open |= {each for each in opened if isinstance(each, RemoteSession)}
        return [SessionLost(str(each)) if isinstance(each, RequestFailed) else each for each in opened]

    def call_all(self, calls: Sequence[Call]) -> list[ToolResult | SessionLost]:
        """Make calls of different sessions at the same time; results in their order."""
        return self._run_all([self._make_call(_own(each.session), each) for each in calls])

    def score_all(self, sessions: Sequence[Session]) -> list[Score | SessionLost]:
        """Score sessions. The server is not asked: its calls gave the rewards."""
        return [SessionLost(each.lost) if each.lost else each.score() for each in map(_own, sessions)]

    def close_session(self, session: RemoteSession) -> None:
        """Free a session at the server, if it is open. A server that fails here is left alone."""
        if session in self._open:
            self._open.remove(session)
            self._run_all([self._end_in_time(session)])

    def find_mismatch(self, name: str, arguments: JsonObject) -> str:
        """Return why the server must not get these arguments; empty if it may check them."""
        if name not in self._tools:
            return f"there is no tool {clean_text(name, 60)}; the tools are {', '.join(self._tools)}"
        if nested_too_deeply(arguments):
            return f"the arguments of {name} are nested too deeply"
        try:
            json.dumps(arguments, allow_nan=False)
        except ValueError:
            return f"the arguments of {name} hold a number that is not finite"
        return ""

    def join_blocks(self, blocks: JsonValue) -> str:
        """Return the text of content blocks; other kinds are named. Raises ``RequestFailed``."""
        if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
            raise self.client.no_form()
        return "\n".join(describe_block(block) for block in blocks if isinstance(block, dict))

    # --- in the loop -----------------------------------------------------------------------------------

    async def _make_call(self, session: RemoteSession, call: Call) -> ToolResult | SessionLost:
        if session.lost:
            return SessionLost(session.lost)
        if refusal := session.find_refusal(call.name, call.arguments):
            return ToolResult(f"Error: {refusal}", refusal, finished=session.finished)
        started = time.perf_counter()
        try:
            result = await self.send_call(session, call.name, call.arguments)
        except RequestFailed as error:
            session.lost = self._describe_loss(error)
            return SessionLost(session.lost)
        session.take(result)
        return replace(result, seconds=time.perf_counter() - started)

    async def _ping_forever(self) -> None:
        """Keep the open sessions alive. One that the server has forgotten is lost."""
        while True:
            await asyncio.sleep(PING_SECONDS)
            await asyncio.gather(*(self._ping(session) for session in list(self._open)))

    async def _ping(self, session: RemoteSession) -> None:
        try:
            await self.ping(session)
        except RequestFailed as error:
            if error.status in FORGOTTEN:
                session.lost = self._describe_loss(error)

    def _describe_loss(self, error: RequestFailed) -> str:
        return (
            f"{self.client.host} has forgotten the session. {LOG}"
            if error.status in FORGOTTEN
            else str(error)
        )

    async def _end_all(self) -> None:
        if self._pinging:
            self._pinging.cancel()
        sessions = list(self._open)
        self._open.clear()
        await asyncio.gather(*(self._end_in_time(session) for session in sessions))
        await self.client.aclose()

    async def _end_in_time(self, session: RemoteSession) -> None:
        with contextlib.suppress(RequestFailed, TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.end(session)

    def _run_all(self, work: Sequence[Coroutine[Any, Any, Result]]) -> list[Result]:
        """Run coroutines at the same time."""

        async def gather() -> list[Result]:
            return await asyncio.gather(*work)

        return self._loop.submit(gather()).result()

    def _ask(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run one coroutine. Raises ``EnvironmentFault``."""
        (answer,) = self._run_all([_catch(work)])
        if isinstance(answer, RequestFailed):
            raise EnvironmentFault(answer.cause, answer.remedy)
        return answer


async def _catch(work: Coroutine[Any, Any, Result]) -> Result | RequestFailed:
    try:
        return await work
    except RequestFailed as error:
        return error


def read_reward(reward: JsonValue) -> float | None:
    """Return a reward. Raises ``ValueError`` if it is neither a finite number nor null."""
    if reward is None:
        return None
    if isinstance(reward, bool) or not isinstance(reward, int | float):
        raise ValueError("a reward is no number")
    if not abs(reward) <= sys.float_info.max:
        raise ValueError("a reward is not finite")
    return float(reward)


def build_result(text: str, reward: float | None = None, finished: bool = False) -> ToolResult:
    """Return the result of a call that succeeded."""
    return ToolResult(clean_text(text, MOST_CHARACTERS), "", reward, finished)


def build_error(text: str) -> ToolResult:
    """Return the result of a call that failed, with the server's reason, which the model reads."""
    reason = clean_text(text, MOST_CHARACTERS)
    return ToolResult(f"Error: {reason}", reason)


def _own(session: Session) -> RemoteSession:
    if not isinstance(session, RemoteSession):
        raise TypeError("the session belongs to another kind of environment")
    return session


def _raise_lost(result: ToolResult | SessionLost) -> ToolResult:
    if isinstance(result, SessionLost):
        raise result
    return result
