"""Middleware for every response."""

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
    """Vary on HX-Request, so that a browser's Back never shows a cached fragment as a page."""
    patch_vary_headers(response, ["HX-Request"])
    response.headers.setdefault("Cache-Control", "private, no-cache")
    return response


def _find_current_page(request: HttpRequest) -> str:
    """Return the path of the page on which the user acted, if it is on this site."""
    page = request.headers.get("HX-Current-URL") or request.headers.get("Referer") or "/"
    if not url_has_allowed_host_and_scheme(page, {request.get_host()}, require_https=request.is_secure()):
        return "/"
    return urlsplit(page)._replace(scheme="", netloc="").geturl()


@_make_middleware
def redirect_to_sign_in(request: HtmxRequest, response: HttpResponseBase) -> HttpResponseBase:
    """After a session has expired, redirect the whole page to sign in, and back to itself.

    Otherwise htmx would show the sign-in form inside a fragment, or sign-in would return to a POST-only URL.
    """
    sign_in = resolve_url(settings.LOGIN_URL)
    is_fragment, is_post = bool(request.htmx), request.method == "POST"
    if not (is_fragment or is_post) or not response.headers.get("Location", "").startswith(
        f"{sign_in}?next="
    ):
        return response
    if is_post:
        messages.warning(request, "You were signed out, so nothing was changed. Sign in and try again.")
    redirect = HttpResponseClientRedirect if is_fragment else HttpResponseRedirect
    return redirect(f"{sign_in}?{urlencode({'next': _find_current_page(request)})}")
