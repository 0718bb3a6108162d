"""A completion as a response: whole, or as server-sent events."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from urllib.parse import quote

from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

from webapp.serving.gateway.completions import Completion

VERSION = "x-groove-version"


async def respond(completion: Completion) -> HttpResponseBase:
    """Return the answer. Raises ApiError before its first byte; later errors are the last event."""
    headers = {VERSION: quote(completion.route.version, safe=":/"), "Cache-Control": "no-cache"}
    if not completion.request.stream:
        content = await completion.complete()
        return HttpResponse(content, content_type="application/json", headers=headers)
    events = completion.stream()
    # The first event is read here: errors before it are plain answers, and the generator has begun, so that
    # it is always closed.
    first = await anext(events)
    headers["X-Accel-Buffering"] = "no"
    return StreamingHttpResponse(_resume(first, events), content_type="text/event-stream", headers=headers)


async def _resume(first: bytes, events: AsyncGenerator[bytes]) -> AsyncIterator[bytes]:
    async with aclosing(events):
        yield first
        async for event in events:
            yield event
