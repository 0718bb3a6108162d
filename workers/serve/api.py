"""The HTTP API: a Starlette application with OpenAI's routes and a health check."""

from __future__ import annotations

import asyncio
import hmac
import secrets
import time
from collections.abc import AsyncGenerator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from pydantic import BaseModel, Field, ValidationError
from starlette.applications import Starlette
from starlette.authentication import AuthenticationBackend, AuthenticationError
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from workers.contract.chat_request import ChatRequest
from workers.contract.json_types import JsonObject, JsonValue
from workers.serve.adapters import Adapter, Adapters
from workers.serve.batching import Batcher
from workers.serve.chat import Chat, Conversation
from workers.serve.chat_request import parse_object, parse_request
from workers.serve.errors import ApiError, as_api_error
from workers.serve.event_stream import EventStream, until_disconnect
from workers.serve.responses import Answer, Progress, measure_progress
from workers.serve.rows import Row

BODY_BYTES = 4 * 1024 * 1024
RETRY_SECONDS = 1
HEALTH = "/healthz"
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
CLIENT_CLOSED = 499  # nginx's status of a request whose client has left


class _LoadRequest(BaseModel):
    """Body of ``POST /v1/load_lora_adapter``, with vLLM's names."""

    lora_name: str = Field(min_length=1, max_length=512)
    lora_path: str = Field(min_length=1)
    load_inplace: bool = False


class _UnloadRequest(BaseModel):
    """Body of ``POST /v1/unload_lora_adapter``."""

    lora_name: str = Field(min_length=1)


class Api:
    """Handlers of the routes. ``most_rows`` limits the completions that are generated or queued."""

    def __init__(
        self, chat: Chat, batcher: Batcher, adapters: Adapters, token: str | None, most_rows: int
    ) -> None:
        self._chat, self._batcher, self._adapters = chat, batcher, adapters
        self._token, self._most_rows = token, most_rows
        self._open_rows = 0
        self._started = int(time.time())
        self._preparing = ThreadPoolExecutor(1, thread_name_prefix="prompts")
        self._loading = ThreadPoolExecutor(1, thread_name_prefix="adapters")

    def build_app(self) -> Starlette:
        """Return the ASGI application."""
        return Starlette(
            routes=[
                Route(HEALTH, self._check_health),
                Route("/v1/models", self._list_models),
                Route("/v1/models/{name:path}", self._get_model),
                Route("/v1/chat/completions", self._complete, methods=["POST"]),
                Route("/v1/load_lora_adapter", self._load_adapter, methods=["POST"]),
                Route("/v1/unload_lora_adapter", self._unload_adapter, methods=["POST"]),
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
        state: JsonObject = {
            "status": "ok",
            "open_rows": self._open_rows,
            "rows": self._batcher.rows,
            "steps": self._batcher.steps,
            "adapters": len(self._adapters.list()),
        }
        return _respond(state)

    async def _list_models(self, request: Request) -> Response:
        models: list[JsonValue] = [self._describe_model(None)]
        models += [self._describe_model(adapter) for adapter in self._adapters.list()]
        return _respond({"object": "list", "data": models})

    async def _get_model(self, request: Request) -> Response:
        return _respond(self._describe_model(self._find_model(request.path_params["name"])))

    async def _refuse_path(self, request: Request) -> Response:
        raise ApiError(404, f"There is no {request.method} {request.url.path} here.")

    # --- adapters ----------------------------------------------------------------------------------

    async def _load_adapter(self, request: Request) -> Response:
        given = _LoadRequest.model_validate(parse_object(await _read_body(request)))
        arguments = given.lora_name, Path(given.lora_path), given.load_inplace
        loop = asyncio.get_running_loop()
        adapter = await loop.run_in_executor(self._loading, self._adapters.load, *arguments)
        return _respond(self._describe_model(adapter))

    async def _unload_adapter(self, request: Request) -> Response:
        given = _UnloadRequest.model_validate(parse_object(await _read_body(request)))
        self._adapters.unload(given.lora_name)
        return _respond({"id": given.lora_name, "object": "model", "deleted": True})

    def _find_model(self, name: str) -> Adapter | None:
        """Return the adapter of this name; ``None`` for the base. Raises ``ApiError``."""
        if name == self._chat.name:
            return None
        if adapter := self._adapters.find(name):
            return adapter
        message = f"The model {name!r} is not served here; this server has {self._chat.name!r}."
        raise ApiError(404, message, "model", "model_not_found")

    def _describe_model(self, adapter: Adapter | None) -> JsonObject:
        created = adapter.loaded if adapter else self._started
        return {
            "id": adapter.name if adapter else self._chat.name,
            "object": "model",
            "created": created,
            "owned_by": "groove",
            "parent": self._chat.name if adapter else None,
            "adapter_sha256": adapter.sha256 if adapter else "",
        }

    # --- chat completions --------------------------------------------------------------------------

    async def _complete(self, request: Request) -> Response:
        chat_request = parse_request(await _read_body(request))
        adapter = self._find_model(chat_request.model)
        if self._open_rows + chat_request.n > self._most_rows:
            message = (
                f"{self._open_rows} completions are open, of at most {self._most_rows}. Try again later."
            )
            raise ApiError(429, message, code="rate_limit_exceeded")
        bodies = self._generate(chat_request, adapter)
        # Waits for the first token, so that a failure before it is a plain error.
        first = await until_disconnect(_take_first(bodies), request.receive)
        if chat_request.stream:
            return EventStream(first, bodies, _build_headers())
        await bodies.aclose()
        return _respond(first)

    async def _generate(
        self, request: ChatRequest, adapter: Adapter | None
    ) -> AsyncGenerator[JsonObject, None]:
        """Render and queue a request; yield its answer, or the chunks of it.

        When the generator is closed or cancelled, its rows leave the batch.
        """
        loop = asyncio.get_running_loop()
        rows: list[Row] = []
        self._open_rows += request.n
        try:
            conversation = await loop.run_in_executor(self._preparing, self._chat.prepare, request, adapter)
            rows = conversation.rows
            bodies = self._stream(conversation) if request.stream else self._answer(conversation)
            async for body in bodies:
                yield body
        finally:
            for row in rows:
                row.future.cancel()
            self._open_rows -= request.n

    async def _answer(self, conversation: Conversation) -> AsyncGenerator[JsonObject, None]:
        """Yield the whole answer."""
        self._batcher.submit(conversation.group)
        await asyncio.gather(*(asyncio.wrap_future(row.future) for row in conversation.rows))
        yield Answer(self._chat, conversation).write_whole()

    async def _stream(self, conversation: Conversation) -> AsyncGenerator[JsonObject, None]:
        """Yield chunks from the first token on. Raises the error of a row that failed."""
        answer, queue = Answer(self._chat, conversation), asyncio.Queue[Progress]()
        for choice, row in enumerate(conversation.rows):
            self._follow(choice, row, queue)
        self._batcher.submit(conversation.group)
        unfinished, begun = len(conversation.rows), False
        while unfinished:
            progress = await queue.get()
            if progress.error:
                raise progress.error
            for chunk in (
                answer.write_progress(progress)
                if begun
                else [*answer.write_begin(), *answer.write_progress(progress)]
            ):
                yield chunk
            begun = True
            unfinished -= progress.finish is not None
        for chunk in answer.write_end():
            yield chunk

    def _follow(self, choice: int, row: Row, queue: asyncio.Queue[Progress]) -> None:
        """Put a row's progress and its failure into the queue, from the thread of the generation."""
        loop = asyncio.get_running_loop()

        def report_token() -> None:
            self._batcher.post(loop, queue.put_nowait, measure_progress(choice, row))

        def report_end(future: Future[None]) -> None:
            if not future.cancelled() and (error := future.exception()):
                self._batcher.post(loop, queue.put_nowait, Progress(choice, "", 0, 0, error=error))

        row.on_token = report_token
        row.future.add_done_callback(report_end)


async def _take_first(bodies: AsyncGenerator[JsonObject, None]) -> JsonObject:
    return await anext(bodies)


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


def _build_headers() -> dict[str, str]:
    return {"x-request-id": f"req_{secrets.token_hex(12)}"}


def _respond(body: JsonObject, status: int = 200) -> JSONResponse:
    headers = _build_headers()
    if status == 429:
        headers["retry-after"] = str(RETRY_SECONDS)
    return JSONResponse(body, status, headers)


def _refuse(request: HTTPConnection, error: Exception) -> Response:
    refused = as_api_error(error)
    return _respond(refused.body, refused.status)


def _drop(request: Request, error: Exception) -> Response:
    return Response(status_code=CLIENT_CLOSED)
