"""What every response carries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode, urlsplit

from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import resolve_url
from django.utils.cache import patch_vary_headers
from django.utils.decorators import sync_and_async_middleware
from django_htmx.http import HttpResponseClientRedirect


def _signing_in(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    sign_in = resolve_url(settings.LOGIN_URL)
    if not request.htmx or urlsplit(response.headers.get("Location", "")).path != sign_in:  # type: ignore[attr-defined]
        return response
    page = request.htmx.current_url_abs_path or "/"  # type: ignore[attr-defined]  # None for another site's
    return HttpResponseClientRedirect(f"{sign_in}?{urlencode({'next': page})}")


def _marked(response: HttpResponseBase) -> HttpResponseBase:
    patch_vary_headers(response, ["HX-Request"])
    response.headers.setdefault("Cache-Control", "private, no-cache")
    return response


@sync_and_async_middleware
def for_htmx(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """Pages and their fragments share addresses; each is cached for itself, so Back shows no bare fragment.

    Once a session has ended the whole page goes to sign in and comes back; a fragment would hold the form.
    """
    if not iscoroutinefunction(get_response):
        return lambda request: _marked(_signing_in(request, get_response(request)))

    async def later(request: HttpRequest) -> HttpResponseBase:
        return _marked(_signing_in(request, await get_response(request)))

    return later
