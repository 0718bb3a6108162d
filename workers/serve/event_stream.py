"""Server-sent events: a stream of JSON objects that ends with ``[DONE]`` or with an error."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Coroutine, Mapping
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from workers.contract.json_types import JsonObject
from workers.serve.errors import as_api_error

T = TypeVar("T")
DONE = b"data: [DONE]\n\n"


class EventStream(Response):
    """Sends bodies as they come. If the client leaves, the generator is closed."""

    media_type = "text/event-stream"

    def __init__(
        self, first: JsonObject, bodies: AsyncGenerator[JsonObject, None], headers: Mapping[str, str]
    ) -> None:
        super().__init__(None, 200, {"cache-control": "no-cache", "x-accel-buffering": "no", **headers})
        self._first, self._bodies = first, bodies
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream. Raises ``ClientDisconnect``, which the application drops."""
        try:
            await until_disconnect(self._send(send), receive)
        finally:
            await self._bodies.aclose()

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        try:
            await _send_part(send, write_event(self._first))
            async for body in self._bodies:
                await _send_part(send, write_event(body))
            last = DONE
        except Exception as error:  # the status is sent already
            last = write_event(as_api_error(error).body)
        await send({"type": "http.response.body", "body": last, "more_body": False})


async def _send_part(send: Send, part: bytes) -> None:
    await send({"type": "http.response.body", "body": part, "more_body": True})


def write_event(body: JsonObject) -> bytes:
    """Return one event."""
    return f"data: {json.dumps(body, ensure_ascii=False, separators=(',', ':'))}\n\n".encode()


async def until_disconnect(work: Coroutine[Any, Any, T], receive: Receive) -> T:
    """Return the result of ``work``. If the client leaves first, cancel it and raise ``ClientDisconnect``."""
    # After the body, ``receive`` returns when the client disconnects.
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(receive())
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        leaving.cancel()
        if not working.done():
            working.cancel()
            await asyncio.wait({working})
