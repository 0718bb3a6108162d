"""Requests to model servers: try again while one starts, and pass on what it refuses."""

from __future__ import annotations

import asyncio
import time
from http import HTTPStatus

from django.conf import settings
from pydantic_core import PydanticSerializationError, from_json, to_json

from webapp.core.api.errors import ApiError
from webapp.serving import servers
from webapp.serving.gateway import readiness, threads
from webapp.serving.gateway.answers import LOST, RETRY_SECONDS
from webapp.serving.gateway.connections import ConnectionBroken, NotConnected, Response, post_json
from webapp.serving.gateway.schemas import CompletionRequest
from webapp.serving.routing import Route
from webapp.serving.servers import ServedModel

AGAIN_SECONDS = 0.2


class AnswerLost(ApiError):
    """The model server ended, or its connection broke, before the answer was complete."""

    def __init__(self) -> None:
        super().__init__(LOST, status=503, retry_after=RETRY_SECONDS)


async def open_answer(route: Route, request: CompletionRequest) -> Response:
    """Return the model server's answer, its body unread. The caller closes it.

    Raises ApiError: 503 if no server answers in time, otherwise what the server refused.
    """
    end = time.monotonic() + settings.SERVE_WAIT_SECONDS
    while True:
        served = await readiness.wait_until_served(route)
        try:
            response = await _send(served, request)
        except NotConnected:
            response = None  # its process has ended, and a worker will notice
        if response and response.status < HTTPStatus.BAD_REQUEST:
            return response
        readiness.forget(route)
        if response:
            await _handle_error(served, response)
        if time.monotonic() > end:
            raise AnswerLost
        await asyncio.sleep(AGAIN_SECONDS)


async def _send(served: ServedModel, request: CompletionRequest) -> Response:
    """Raises NotConnected and ApiError."""
    try:
        content = to_json(request.build_payload(served.model))
    except PydanticSerializationError as error:
        raise ApiError("The body contains half a character (a lone surrogate).") from error
    headers = {"Authorization": f"Bearer {served.token}"}
    try:
        return await post_json(f"{served.url}/chat/completions", headers, content)
    except ConnectionBroken as error:
        raise AnswerLost from error


async def _handle_error(served: ServedModel, response: Response) -> None:
    """Return if another try may succeed. Raises ApiError with what the server refused."""
    try:
        error = from_json(await response.read())["error"]
    except (ConnectionBroken, ValueError, KeyError, TypeError) as failure:
        raise AnswerLost from failure
    finally:
        response.close()
    if response.status == 404 and error.get("code") == "model_not_found":
        await threads.run(servers.forget_adapter, served)
    elif response.status != 401:  # the token of an earlier process
        wait = RETRY_SECONDS if response.status in (429, 503) else None
        raise ApiError(
            str(error.get("message")),
            status=response.status,
            param=error.get("param"),
            code=error.get("code"),
            retry_after=wait,
        )
