"""What every response carries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers
from django.utils.decorators import sync_and_async_middleware


def _marked(response: HttpResponseBase) -> HttpResponseBase:
    patch_vary_headers(response, ["HX-Request"])
    response.headers.setdefault("Cache-Control", "private, no-cache")
    return response


@sync_and_async_middleware
def vary_on_htmx(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """Pages and their fragments share addresses; without this a browser's Back shows a bare fragment."""
    if not iscoroutinefunction(get_response):
        return lambda request: _marked(get_response(request))

    async def later(request: HttpRequest) -> HttpResponseBase:
        return _marked(await get_response(request))

    return later
