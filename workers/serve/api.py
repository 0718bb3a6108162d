"""The HTTP side: an ASGI application with three addresses."""

from __future__ import annotations

import asyncio
import hmac
import json
import secrets
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from workers.serve.batching import Batcher
from workers.serve.chat import Chat, ChatRequest, Json, parse
from workers.serve.errors import ApiError, refusal

Receive = Callable[[], Awaitable[Json]]
Send = Callable[[Json], Awaitable[None]]

BODY_BYTES = 4 * 1024 * 1024
RETRY_SECONDS = 1


class ClientGone(Exception):
    """The caller closed the connection; nobody waits for an answer."""


class Api:
    """The application. ``most_rows`` bounds the answers that are being written or wait."""

    def __init__(self, chat: Chat, batcher: Batcher, token: str | None, most_rows: int) -> None:
        self._chat, self._batcher, self._token, self._most_rows = chat, batcher, token, most_rows
        self._open_rows = 0
        self._started = int(time.time())
        self._preparing = ThreadPoolExecutor(1, thread_name_prefix="prompts")

    async def __call__(self, scope: Json, receive: Receive, send: Send) -> None:
        try:
            status, body = 200, await self._answer(scope, receive)
        except ClientGone:
            return
        except Exception as error:
            refused = refusal(error)
            status, body = refused.status, refused.body
        await _send_json(send, status, body)

    async def _answer(self, scope: Json, receive: Receive) -> Json:
        method, path = scope["method"], scope["path"]
        if (method, path) == ("GET", "/healthz"):
            return {"status": "ok", "open_rows": self._open_rows, "batches": self._batcher.batches}
        self._check_token(scope)
        if (method, path) == ("POST", "/v1/chat/completions"):
            return await self._complete(receive)
        if (method, path) == ("GET", "/v1/models"):
            return {"object": "list", "data": [self._model()]}
        if method == "GET" and path.startswith("/v1/models/"):
            self._check_model(path.removeprefix("/v1/models/"))
            return self._model()
        raise ApiError(404, f"There is no {method} {path} here.")

    def _check_token(self, scope: Json) -> None:
        given = dict(scope["headers"]).get(b"authorization", b"")
        if self._token is not None and not hmac.compare_digest(given, f"Bearer {self._token}".encode()):
            raise ApiError(401, "The bearer token is missing or wrong.", code="invalid_api_key")

    def _check_model(self, asked: str) -> None:
        if asked != self._chat.name:
            message = f"The model {asked!r} is not served here; this server has {self._chat.name!r}."
            raise ApiError(404, message, "model", "model_not_found")

    def _model(self) -> Json:
        return {"id": self._chat.name, "object": "model", "created": self._started, "owned_by": "groove"}

    async def _complete(self, receive: Receive) -> Json:
        request = parse(await _body(receive))
        self._check_model(request.model)
        if self._open_rows + request.n > self._most_rows:
            message = f"{self._open_rows} answers are in work, of at most {self._most_rows}. Try again later."
            raise ApiError(429, message, code="rate_limit_exceeded")
        self._open_rows += request.n
        try:
            return await _unless_gone(self._written(request), receive)
        finally:
            self._open_rows -= request.n

    async def _written(self, request: ChatRequest) -> Json:
        """Renders, queues and waits; cancelled, it takes its rows out of the batch."""
        rows = await asyncio.get_running_loop().run_in_executor(self._preparing, self._chat.rows, request)
        self._batcher.submit(rows)
        try:
            await asyncio.gather(*(asyncio.wrap_future(row.future) for row in rows))
        finally:
            for row in rows:
                row.future.cancel()
        return self._chat.completion(rows)


async def _unless_gone(work: Any, receive: Receive) -> Json:
    """The work's result. Raises ``ClientGone``, and cancels the work, if the caller leaves first."""
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(receive())
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientGone
        answer: Json = working.result()
        return answer
    finally:
        working.cancel()
        leaving.cancel()


async def _body(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        body += bytes(message.get("body", b""))
        if len(body) > BODY_BYTES:
            raise ApiError(413, f"The body is larger than {BODY_BYTES} bytes.")
        if not message.get("more_body"):
            return body


async def _send_json(send: Send, status: int, body: Json) -> None:
    content = json.dumps(body).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(content)).encode()),
        (b"x-request-id", f"req_{secrets.token_hex(12)}".encode()),
    ]
    if status == 429:
        headers.append((b"retry-after", str(RETRY_SECONDS).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
