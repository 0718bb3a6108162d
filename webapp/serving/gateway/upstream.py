"""Requests to model servers, over connections that are kept."""

from __future__ import annotations

import asyncio
import time
from weakref import WeakKeyDictionary

import httpx2
from django.conf import settings
from pydantic_core import PydanticSerializationError, from_json, to_json

from webapp.core.api.errors import ApiError
from webapp.serving import servers
from webapp.serving.gateway import readiness, threads
from webapp.serving.gateway.answers import LOST, RETRY_SECONDS
from webapp.serving.gateway.schemas import CompletionRequest
from webapp.serving.routing import Route
from webapp.serving.servers import ServedModel

TIMEOUT = httpx2.Timeout(600.0, connect=5.0)
LIMITS = httpx2.Limits(max_connections=None, max_keepalive_connections=64)
AGAIN_SECONDS = 0.2
_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, httpx2.AsyncClient] = WeakKeyDictionary()


class AnswerLost(ApiError):
    """The model server ended, or its connection broke, before the answer was complete."""

    def __init__(self) -> None:
        super().__init__(LOST, status=503, retry_after=RETRY_SECONDS)


def _find_client() -> httpx2.AsyncClient:
    loop = asyncio.get_running_loop()
    if loop not in _clients:
        _clients[loop] = httpx2.AsyncClient(timeout=TIMEOUT, limits=LIMITS, trust_env=False)
    return _clients[loop]


async def close_client() -> None:
    """Close the connections of this event loop. Call it where the loop ends with the work."""
    if client := _clients.pop(asyncio.get_running_loop(), None):
        await client.aclose()


async def open_answer(route: Route, request: CompletionRequest) -> httpx2.Response:
    """Return the model server's answer, its body unread. The caller closes it.

    Raises ApiError: 503 if no server answers in time, otherwise what the server refused.
    """
    end = time.monotonic() + settings.SERVE_WAIT_SECONDS
    while True:
        served = await readiness.wait_until_served(route)
        try:
            response = await _send(served, request)
        except (httpx2.ConnectError, httpx2.ConnectTimeout):
            response = None  # its process has ended, and a worker will notice
        if response is not None and not response.is_error:
            return response
        readiness.forget(route)
        if response is not None:
            await _handle_error(served, response)
        if time.monotonic() > end:
            raise AnswerLost
        await asyncio.sleep(AGAIN_SECONDS)


async def _send(served: ServedModel, request: CompletionRequest) -> httpx2.Response:
    """Raises the errors of connecting, and AnswerLost for later ones."""
    try:
        content = to_json(request.build_payload(served.model))
    except PydanticSerializationError as error:
        raise ApiError("The body contains half a character (a lone surrogate).") from error
    headers = {"Authorization": f"Bearer {served.token}", "Content-Type": "application/json"}
    client = _find_client()
    message = client.build_request("POST", f"{served.url}/chat/completions", content=content, headers=headers)
    try:
        return await client.send(message, stream=True)
    except (httpx2.ConnectError, httpx2.ConnectTimeout):
        raise
    except httpx2.TransportError as error:
        raise AnswerLost from error


async def _handle_error(served: ServedModel, response: httpx2.Response) -> None:
    """Return if another try may succeed. Raises ApiError with what the server refused."""
    try:
        body = await response.aread()
        error = from_json(body)["error"]
    except (httpx2.TransportError, ValueError, KeyError, TypeError) as failure:
        raise AnswerLost from failure
    finally:
        await response.aclose()
    if response.status_code == 404 and error.get("code") == "model_not_found":
        await threads.run(servers.forget_adapter, served)
    elif response.status_code != 401:  # the token of an earlier process
        wait = RETRY_SECONDS if response.status_code in (429, 503) else None
        raise ApiError(
            str(error.get("message")),
            status=response.status_code,
            param=error.get("param"),
            code=error.get("code"),
            retry_after=wait,
        )
