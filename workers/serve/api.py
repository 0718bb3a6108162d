"""The HTTP API: a Starlette application with OpenAI's routes and a health check."""

from __future__ import annotations

import asyncio
import hmac
import secrets
import time
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.authentication import AuthenticationBackend, AuthenticationError
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive

from workers.contract.json_types import JsonObject
from workers.serve.batching import Batcher
from workers.serve.chat import Chat, ChatRequest, parse_request
from workers.serve.errors import ApiError, as_api_error

BODY_BYTES = 4 * 1024 * 1024
RETRY_SECONDS = 1
HEALTH = "/healthz"
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
CLIENT_CLOSED = 499  # nginx's status of a request whose client has left


class Api:
    """Handlers of the routes. ``most_rows`` limits the completions that are generated or queued."""

    def __init__(self, chat: Chat, batcher: Batcher, token: str | None, most_rows: int) -> None:
        self._chat, self._batcher, self._token, self._most_rows = chat, batcher, token, most_rows
        self._open_rows = 0
        self._started = int(time.time())
        self._preparing = ThreadPoolExecutor(1, thread_name_prefix="prompts")

    def build_app(self) -> Starlette:
        """Return the ASGI application."""
        return Starlette(
            routes=[
                Route(HEALTH, self._check_health),
                Route("/v1/models", self._list_models),
                Route("/v1/models/{name:path}", self._get_model),
                Route("/v1/chat/completions", self._complete, methods=["POST"]),
                Route("/{path:path}", self._refuse_path, methods=METHODS),
            ],
            middleware=[
                Middleware(AuthenticationMiddleware, backend=TokenBackend(self._token), on_error=_refuse)
            ],
            exception_handlers={
                ApiError: _refuse,
                ValidationError: _refuse,
                ClientDisconnect: _drop,
                Exception: _refuse,  # Starlette raises it again, so that uvicorn logs it
            },
        )

    async def _check_health(self, request: Request) -> Response:
        return _respond({"status": "ok", "open_rows": self._open_rows, "batches": self._batcher.batches})

    async def _list_models(self, request: Request) -> Response:
        return _respond({"object": "list", "data": [self._describe_model()]})

    async def _get_model(self, request: Request) -> Response:
        self._check_model(request.path_params["name"])
        return _respond(self._describe_model())

    async def _refuse_path(self, request: Request) -> Response:
        raise ApiError(404, f"There is no {request.method} {request.url.path} here.")

    async def _complete(self, request: Request) -> Response:
        chat_request = parse_request(await _read_body(request))
        self._check_model(chat_request.model)
        if self._open_rows + chat_request.n > self._most_rows:
            message = (
                f"{self._open_rows} completions are open, of at most {self._most_rows}. Try again later."
            )
            raise ApiError(429, message, code="rate_limit_exceeded")
        self._open_rows += chat_request.n
        try:
            return _respond(await _until_disconnect(self._generate(chat_request), request.receive))
        finally:
            self._open_rows -= chat_request.n

    async def _generate(self, request: ChatRequest) -> JsonObject:
        """Render, queue and wait. A cancelled call removes its rows from the batch."""
        loop = asyncio.get_running_loop()
        rows = await loop.run_in_executor(self._preparing, self._chat.build_rows, request)
        self._batcher.submit(rows)
        try:
            await asyncio.gather(*(asyncio.wrap_future(row.future) for row in rows))
        finally:
            for row in rows:
                row.future.cancel()
        return self._chat.build_response(rows)

    def _check_model(self, name: str) -> None:
        if name != self._chat.name:
            message = f"The model {name!r} is not served here; this server has {self._chat.name!r}."
            raise ApiError(404, message, "model", "model_not_found")

    def _describe_model(self) -> JsonObject:
        return {"id": self._chat.name, "object": "model", "created": self._started, "owned_by": "groove"}


class TokenBackend(AuthenticationBackend):
    """Requires the bearer token, if there is one, on every path but the health check."""

    def __init__(self, token: str | None) -> None:
        self._expected = None if token is None else f"Bearer {token}".encode()

    async def authenticate(self, conn: HTTPConnection) -> None:
        """Raises ``AuthenticationError``."""
        if self._expected is None or conn.url.path == HEALTH:
            return
        given = conn.headers.get("authorization", "").encode("latin-1")
        if not hmac.compare_digest(given, self._expected):
            raise AuthenticationError


async def _read_body(request: Request) -> bytes:
    """Read the body. Raises ``ApiError`` once it is too large, before the rest is read."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > BODY_BYTES:
            raise ApiError(413, f"The body is larger than {BODY_BYTES} bytes.")
    return bytes(body)


async def _until_disconnect(work: Coroutine[None, None, JsonObject], receive: Receive) -> JsonObject:
    """Return the result of ``work``. If the client leaves first, cancel it and raise ``ClientDisconnect``."""
    # After the body, ``receive`` returns when the client disconnects.
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(receive())
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()


def _respond(body: JsonObject, status: int = 200) -> JSONResponse:
    headers = {"x-request-id": f"req_{secrets.token_hex(12)}"}
    if status == 429:
        headers["retry-after"] = str(RETRY_SECONDS)
    return JSONResponse(body, status, headers)


def _refuse(request: HTTPConnection, error: Exception) -> Response:
    refused = as_api_error(error)
    return _respond(refused.body, refused.status)


def _drop(request: Request, error: Exception) -> Response:
    return Response(status_code=CLIENT_CLOSED)
