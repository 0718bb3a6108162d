"""A completion as a response: whole, or as server-sent events."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from urllib.parse import quote

from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

from webapp.core.api.errors import ApiError
from webapp.serving.gateway.answers import format_error
from webapp.serving.gateway.completions import Completion

VERSION = "x-groove-version"


async def respond(completion: Completion) -> HttpResponseBase:
    """Return the answer. Raises ApiError before its first byte; later errors are the last event."""
    headers = {VERSION: quote(completion.route.version, safe=":/"), "Cache-Control": "no-cache"}
    if not completion.request.stream:
        content = await completion.complete()
        return HttpResponse(content, content_type="application/json", headers=headers)
    return await stream_events(completion.stream(), headers)


async def stream_events(events: AsyncGenerator[bytes], headers: dict[str, str]) -> StreamingHttpResponse:
    """Return a stream of server-sent events. An error before the first is raised, a later one is the last."""
    # The first event is read here: errors before it are plain answers, and the generator has begun, so that
    # it is always closed.
    first = await anext(events)
    headers = headers | {"X-Accel-Buffering": "no"}
    return StreamingHttpResponse(_resume(first, events), content_type="text/event-stream", headers=headers)


async def _resume(first: bytes, events: AsyncGenerator[bytes]) -> AsyncIterator[bytes]:
    async with aclosing(events):
        yield first
        try:
            async for event in events:
                yield event
        except ApiError as error:
            yield format_error(error.build_envelope())
