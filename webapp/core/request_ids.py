"""An id for every request, in its response and in the log."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest
from django.utils.decorators import sync_and_async_middleware

from webapp.core.fields import create_public_id

HEADER = "x-request-id"
_current: ContextVar[str] = ContextVar("request_id", default="-")


class RequestIdFilter(logging.Filter):
    """Adds ``request_id`` to records."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = _current.get()
        return True


@sync_and_async_middleware
def add_request_id(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """Middleware that names the request. A name that a caller sends is ignored: it could be forged."""

    def begin() -> str:
        name = create_public_id("req_")
        _current.set(name)
        return name

    if not iscoroutinefunction(get_response):

        def respond(request: HttpRequest) -> Any:
            name = begin()
            response = get_response(request)
            response.headers[HEADER] = name
            return response

        return respond

    async def respond_later(request: HttpRequest) -> Any:
        name = begin()
        response = await get_response(request)
        response.headers[HEADER] = name
        return response

    return respond_later
