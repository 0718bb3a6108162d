"""Environments of the Open Reward Standard (ORS): tools, tasks and rewards over HTTP.

Calls answer with server-sent events. One that broke off is taken up again by its id, without a second call.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from httpx2 import EventSource, Response

from workers.contract.environments import OrsEnvironment
from workers.contract.json_types import JsonObject, JsonValue
from workers.environments.backend import EnvironmentFault, ToolResult
from workers.environments.remote.backend import (
    RemoteBackend,
    RemoteSession,
    build_error,
    build_result,
    read_reward,
)
from workers.environments.remote.client import LOG, MOST_BYTES, MOST_LIST_BYTES, RequestFailed
from workers.environments.remote.tools import build_tools, clean_json, is_header

EVENT_STREAM = {"accept": "text/event-stream"}
SESSION_HEADER = "X-Session-ID"
UNKNOWN_CALL = "unknown task_id"
MOST_NAMES = 1000  # characters of a message that lists names


class ServerReport(Exception):
    """The server's own report of a failed call, as text."""


@dataclass
class _Result:
    """A result that arrives in parts. Its identifier asks for it again after a broken connection."""

    identifier: str = ""
    text: str = ""


class OrsBackend(RemoteBackend[OrsEnvironment]):
    """An ORS environment. The last reward of a session counts."""

    def build_headers(self, secret: str) -> dict[str, str]:
        """Return the headers that show the secret."""
        return {"X-API-Key": secret}

    async def load_tools(self) -> dict[str, JsonObject]:
        """Return the tools by name, after the environment has been found."""
        self._name = await self._find_name()
        answer = await self.client.request_json("GET", self._path("tools"), repeatable=True)
        tools = [each for each in self.client.read_list(answer, "tools") if isinstance(each, dict)]
        return build_tools(
            [(each.get("name"), each.get("description"), each.get("input_schema")) for each in tools]
        )

    async def _find_name(self) -> str:
        """Return the environment's name as the server spells it. Without one, the server has to have one."""
        answer = await self.client.request_json("GET", "/list_environments", repeatable=True)
        if not isinstance(answer, list):
            raise self.client.no_form()
        names = [str(clean_json(each)) for each in answer]
        wanted = self.environment.environment
        found = [name for name in names if not wanted or name.lower() == wanted.lower()]
        if len(found) != 1:
            cause = (
                f"the server has no environment {wanted}" if wanted else "the server has not one environment"
            )
            raise EnvironmentFault(cause, f"Name one of: {', '.join(names)[:MOST_NAMES]}.")
        return found[0]

    async def load_splits(self) -> list[str]:
        """Return the names of the splits."""
        answer = await self.client.request_json("GET", self._path("splits"), repeatable=True)
        splits = answer if isinstance(answer, list) else []
        return [
            str(each["name"]) if isinstance(each, dict) and "name" in each else str(each) for each in splits
        ]

    async def load_tasks(self, split: str) -> list[JsonObject]:
        """Return the tasks of a split, whether the environment lists them or has them by index."""
        try:
            answer = await self._post("tasks", {"split": split})
        except RequestFailed as error:
            if error.status != 400:
                raise
            answer = await self._post("task_range", {"split": split, "start": 0, "stop": None})
        tasks = [clean_json(each) for each in self.client.read_list(answer, "tasks")]
        if not all(isinstance(task, dict) for task in tasks):
            raise self.client.no_form()
        return [task for task in tasks if isinstance(task, dict)]

    async def open(self, task: JsonObject) -> RemoteSession:
        """Open a session at the server: an id, then the environment, then its prompt."""
        try:
            identifier = (await self._stream("/create_session", {}, {}, repeatable=True)).identifier
        except ServerReport:
            raise self.client.no_form() from None
        if not is_header(identifier):
            raise self.client.no_form()
        headers = {SESSION_HEADER: identifier}
        body: JsonObject = {"env_name": self._name, "task_spec": task}
        await self.client.request_json("POST", "/create", body, headers=headers)
        try:
            path = self._path("prompt")
            prompt = await self.client.request_json("GET", path, headers=headers, repeatable=True)
            return RemoteSession(self, headers, self.join_blocks(prompt))
        except RequestFailed:
            await self._end_in_time(RemoteSession(self, headers))
            raise

    async def send_call(self, session: RemoteSession, name: str, arguments: JsonObject) -> ToolResult:
        """Make a call."""
        body: JsonObject = {"name": name, "input": arguments}
        try:
            result = await self._stream(self._path("call"), body, session.headers)
        except ServerReport as report:
            if str(report) == UNKNOWN_CALL:
                raise RequestFailed(f"{self.client.host} has forgotten a call", LOG) from None
            return build_error(str(report))
        answer = self.client.parse(result.text)
        if not isinstance(answer, dict):
            raise self.client.no_form()
        output = answer.get("output")
        if answer.get("ok") is not True or not isinstance(output, dict):
            return build_error(str(answer.get("error") or "the call failed"))
        try:
            reward = read_reward(output.get("reward"))
        except ValueError:
            raise self.client.no_form() from None
        return build_result(self.join_blocks(output.get("blocks")), reward, output.get("finished") is True)

    async def ping(self, session: RemoteSession) -> None:
        """Tell the server that the session is in use."""
        await self.client.request_json("POST", "/ping", headers=session.headers)

    async def end(self, session: RemoteSession) -> None:
        """Free the session at the server."""
        for path in ("/delete", "/delete_session"):
            await self.client.request_json("POST", path, headers=session.headers)

    def _path(self, name: str) -> str:
        return f"/{quote(self._name, safe='')}/{name}"

    async def _post(self, name: str, body: JsonObject) -> JsonValue:
        return await self.client.request_json(
            "POST", self._path(name), body, repeatable=True, most=MOST_LIST_BYTES
        )

    async def _stream(
        self, path: str, body: JsonObject, headers: Mapping[str, str], repeatable: bool = False
    ) -> _Result:
        """POST and return the result that the events hold. Raises ``RequestFailed`` and ``ServerReport``."""
        result = _Result()

        async def send() -> _Result:
            again: JsonObject = {"task_id": result.identifier} if result.identifier else {}
            async with self.client.stream("POST", path, body | again, {**EVENT_STREAM, **headers}) as answer:
                await self._read_events(answer, result)
            return result

        return await self.client.repeat(send, lambda: repeatable or bool(result.identifier))

    async def _read_events(self, answer: Response, result: _Result) -> None:
        result.text = ""
        async for event in EventSource(answer, MOST_BYTES):
            if event.event == "task_id":
                result.identifier = event.data.strip()
            elif event.event == "error":
                raise ServerReport(event.data)
            elif event.event in ("chunk", "end"):
                result.text += event.data
                if len(result.text) > MOST_BYTES:
                    raise self.client.too_large(MOST_BYTES)
                if event.event == "end":
                    return
        raise self.client.broke_off()
