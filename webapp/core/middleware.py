"""What is done to every response."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import urlencode, urlsplit

from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import resolve_url
from django.utils.cache import patch_vary_headers
from django.utils.decorators import sync_and_async_middleware
from django.utils.http import url_has_allowed_host_and_scheme
from django_htmx.http import HttpResponseClientRedirect

from webapp.core.http import HtmxRequest

Finish = Callable[[HtmxRequest, HttpResponseBase], HttpResponseBase]


def _make_middleware(finish: Finish) -> Callable[..., Any]:
    @sync_and_async_middleware
    @wraps(finish)
    def middleware(get_response: Callable[[HtmxRequest], Any]) -> Callable[[HtmxRequest], Any]:
        if not iscoroutinefunction(get_response):
            return lambda request: finish(request, get_response(request))

        async def later(request: HtmxRequest) -> HttpResponseBase:
            return finish(request, await get_response(request))

        return later

    return middleware


@_make_middleware
def vary_on_htmx(_request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    """Pages and their fragments share addresses; without this a browser's Back shows a bare fragment."""
    patch_vary_headers(response, ["HX-Request"])
    response.headers.setdefault("Cache-Control", "private, no-cache")
    return response


def _find_current_page(request: HttpRequest) -> str:
    """The page of this site on which a person asked, without scheme and host."""
    page = request.headers.get("HX-Current-URL") or request.headers.get("Referer") or "/"
    if not url_has_allowed_host_and_scheme(page, {request.get_host()}, require_https=request.is_secure()):
        return "/"
    return urlsplit(page)._replace(scheme="", netloc="").geturl()


@_make_middleware
def redirect_to_sign_in(request: HtmxRequest, response: HttpResponseBase) -> HttpResponseBase:
    """Once a session has ended the whole page goes to sign in and comes back.

    A fragment would hold the form, and an address that only takes forms has nothing to show.
    """
    sign_in = resolve_url(settings.LOGIN_URL)
    fragment, sends = bool(request.htmx), request.method == "POST"
    if not (fragment or sends) or not response.headers.get("Location", "").startswith(f"{sign_in}?next="):
        return response
    if sends:
        messages.warning(request, "You were signed out, so nothing was changed. Sign in, then do it again.")
    answer = HttpResponseClientRedirect if fragment else HttpResponseRedirect
    return answer(f"{sign_in}?{urlencode({'next': _find_current_page(request)})}")
