"""Tools of MCP servers, over streamable HTTP with one connection a session.

An MCP server has neither tasks nor rewards: the rows of a dataset are the tasks, the job's grader the reward.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping

from httpx2 import EventSource, Response

from workers.contract.environments import McpEnvironment
from workers.contract.json_types import JsonObject, JsonValue
from workers.environments.backend import ToolResult
from workers.environments.remote.backend import RemoteBackend, RemoteSession, build_error, build_result
from workers.environments.remote.client import MOST_BYTES, RequestFailed
from workers.environments.remote.tools import MOST_TOOLS, build_tools, is_header

VERSION = "2025-11-25"  # the newest revision of MCP whose connections keep a state between calls
SESSION_HEADER, VERSION_HEADER = "mcp-session-id", "mcp-protocol-version"
ACCEPT = {"accept": "application/json, text/event-stream"}
UNKNOWN_METHOD = -32601


class ServerRefused(Exception):
    """The server's own refusal of a request, as text, with its JSON-RPC ``code``."""

    def __init__(self, code: JsonValue, message: JsonValue) -> None:
        super().__init__(str(message))
        self.code = code if isinstance(code, int) else 0


class McpBackend(RemoteBackend[McpEnvironment]):
    """The tools of an MCP server. Sessions have no prompt of their own, and no reward."""

    _numbers = itertools.count(1)

    def build_headers(self, secret: str) -> dict[str, str]:
        """Return the headers that show the secret."""
        return {"authorization": f"Bearer {secret}"}

    async def load_tools(self) -> dict[str, JsonObject]:
        """Return the tools by name, read in a session of its own."""
        session = await self.open({})
        try:
            return build_tools(await self._list_tools(session))
        finally:
            await self._end_in_time(session)

    async def _list_tools(self, session: RemoteSession) -> list[tuple[JsonValue, JsonValue, JsonValue]]:
        found: list[tuple[JsonValue, JsonValue, JsonValue]] = []
        page: JsonObject = {}
        while len(found) <= MOST_TOOLS:
            answer, _ = await self._ask_server("tools/list", page, session.headers)
            tools = [tool for tool in self.client.read_list(answer, "tools") if isinstance(tool, dict)]
            found += [(tool.get("name"), tool.get("description"), tool.get("inputSchema")) for tool in tools]
            page = {"cursor": answer.get("nextCursor")}
            if not page["cursor"]:
                break
        return found

    async def load_splits(self) -> list[str]:
        """Return no split: rows of a dataset are the tasks."""
        return []

    async def load_tasks(self, split: str) -> list[JsonObject]:
        """Return no task: rows of a dataset are the tasks."""
        return []

    async def open(self, task: JsonObject) -> RemoteSession:
        """Open a connection: agree on a version of MCP, and get the server's id of the session."""
        offer: JsonObject = {
            "protocolVersion": VERSION,
            "capabilities": {},
            "clientInfo": {"name": "groove", "version": "1"},
        }
        answer, headers = await self._ask_server("initialize", offer, {})
        version = answer.get("protocolVersion")
        identifier = headers.get(SESSION_HEADER, "")
        if not is_header(version) or (identifier and not is_header(identifier)):
            raise self.client.no_form()
        session = {VERSION_HEADER: str(version)} | ({SESSION_HEADER: identifier} if identifier else {})
        await self._notify({"method": "notifications/initialized"}, session)
        return RemoteSession(self, session)

    async def send_call(self, session: RemoteSession, name: str, arguments: JsonObject) -> ToolResult:
        """Make a call."""
        call: JsonObject = {"name": name, "arguments": arguments}
        try:
            answer, _ = await self._request("tools/call", call, session.headers)
        except ServerRefused as refusal:
            return build_error(str(refusal))
        text = self.join_blocks(answer.get("content", []))
        if not text and "structuredContent" in answer:
            text = json.dumps(answer["structuredContent"], ensure_ascii=False)
        return build_error(text or "the call failed") if answer.get("isError") is True else build_result(text)

    async def ping(self, session: RemoteSession) -> None:
        """Tell the server that the session is in use."""
        await self._ask_server("ping", {}, session.headers)

    async def end(self, session: RemoteSession) -> None:
        """Free the session at the server, if it has one."""
        if SESSION_HEADER in session.headers:
            async with self.client.stream("DELETE", "", None, session.headers):
                pass

    async def _ask_server(
        self, method: str, params: JsonObject, headers: Mapping[str, str]
    ) -> tuple[JsonObject, Mapping[str, str]]:
        """Send a request that may reach the server twice. Raises ``RequestFailed``."""
        try:
            return await self._request(method, params, headers, repeatable=True)
        except ServerRefused as refusal:
            cause = f"{self.client.host} refused {method}, with code {refusal.code}"
            raise RequestFailed(cause, f"Use a server of MCP {VERSION} or before.") from None

    async def _request(
        self, method: str, params: JsonObject, headers: Mapping[str, str], repeatable: bool = False
    ) -> tuple[JsonObject, Mapping[str, str]]:
        """Send a request and return its result and the answer's headers. Raises ``ServerRefused`` too."""
        number = next(self._numbers)
        body: JsonObject = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}

        async def send() -> tuple[JsonObject, Mapping[str, str]]:
            async with self.client.stream("POST", "", body, {**ACCEPT, **headers}) as answer:
                return await self._read_message(answer, number, headers), answer.headers

        message, received = await self.client.repeat(send, lambda: repeatable)
        if isinstance(error := message.get("error"), dict):
            raise ServerRefused(error.get("code"), error.get("message"))
        if not isinstance(result := message.get("result"), dict):
            raise self.client.no_form()
        return result, received

    async def _read_message(self, answer: Response, number: int, headers: Mapping[str, str]) -> JsonObject:
        """Return the response to a request, alone or among the events of a stream."""
        if not answer.headers.get("content-type", "").startswith("text/event-stream"):
            message = self.client.parse(await self.client.read(answer, MOST_BYTES))
            if isinstance(message, dict):
                return message
            raise self.client.no_form()
        async for event in EventSource(answer, MOST_BYTES):
            message = self.client.parse(event.data) if event.data else None
            if not isinstance(message, dict):
                continue
            if "method" not in message and message.get("id") == number:
                return message
            if "method" in message and "id" in message:
                await self._notify(_answer(message), headers)
        raise self.client.broke_off()

    async def _notify(self, message: JsonObject, headers: Mapping[str, str]) -> None:
        """Send a message that has no answer."""
        async with self.client.stream("POST", "", {"jsonrpc": "2.0", **message}, {**ACCEPT, **headers}):
            pass


def _answer(request: JsonObject) -> JsonObject:
    """Return the response to a request of the server: only a ping is answered."""
    if request["method"] == "ping":
        return {"id": request["id"], "result": {}}
    refusal: JsonObject = {"code": UNKNOWN_METHOD, "message": "Method not found"}
    return {"id": request["id"], "error": refusal}
