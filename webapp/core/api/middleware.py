"""Every error below ``/v1`` has OpenAI's envelope, whoever raised it: Django answers with pages."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest, JsonResponse
from django.http.response import HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

from webapp.core.api.errors import build_envelope

PREFIX = "/v1/"
MESSAGES = {
    400: "The request cannot be read: it must be UTF-8 without NUL characters.",
    404: "Unknown request URL. See /docs/api/ for the URLs of this server.",
    405: "This URL does not accept that method.",
    500: "The server met an unexpected error. It has been logged under this request's id.",
}


def _answer(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    if not request.path.startswith(PREFIX) or response.status_code < HTTPStatus.BAD_REQUEST:
        return response
    if response.headers.get("Content-Type", "").startswith("application/json"):
        return response
    status = response.status_code
    message = MESSAGES.get(status, HTTPStatus(status).phrase)
    answer = JsonResponse(build_envelope(status, message), status=status)
    for header in ("Allow", "Connection"):
        if header in response.headers:
            answer.headers[header] = response.headers[header]
    return answer


@sync_and_async_middleware
def envelop_errors(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """Middleware that turns error pages below ``/v1`` into envelopes."""
    if not iscoroutinefunction(get_response):
        return lambda request: _answer(request, get_response(request))

    async def respond_later(request: HttpRequest) -> HttpResponseBase:
        return _answer(request, await get_response(request))

    return respond_later
