"""Refuse unreadable requests: NUL, broken UTF-8, other encodings, very large numbers.

PostgreSQL stores neither NUL nor lone surrogates, so such text would fail later with status 500.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from math import isfinite
from typing import Any
from urllib.parse import unquote_to_bytes

from asgiref.sync import iscoroutinefunction
from django.core.exceptions import BadRequest
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template.loader import render_to_string
from django.utils.decorators import sync_and_async_middleware

from workers.contract.json_types import JsonValue

GREATEST = 2**63 - 1  # of a bigint
BODIES = {"POST", "PUT", "PATCH"}
FORM = "application/x-www-form-urlencoded"
_HALF = re.compile("[\ud800-\udfff]")


def parse_whole_number(text: str | None, most: int = 2**31 - 1) -> int | None:
    """Parse a number of ASCII digits up to ``most``. Returns None for anything else."""
    if not text or not text.isascii() or not text.isdigit() or len(text) > len(str(most)):
        return None
    number = int(text)
    return number if number <= most else None


def load_json(text: str) -> Any:
    """Parse JSON that PostgreSQL can store.

    Raises ValueError, or RecursionError for deep nesting.
    """
    value = json.loads(text, parse_constant=_refuse_constant)
    for each in _walk_leaves(value):
        if isinstance(each, str) and _has_unreadable([each]):
            raise ValueError("it contains half a character (a lone surrogate) or a NUL character")
        if isinstance(each, float) and not isfinite(each):
            raise ValueError("it contains a number that is too large")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _walk_leaves(value: JsonValue) -> Iterator[JsonValue]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from _walk_leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _walk_leaves(inner)
    else:
        yield value


def find_fault(request: HttpRequest) -> str:
    """Return what is unreadable in the URL, headers or cookies; empty if nothing is."""
    if request.encoding and request.encoding.lower().replace("_", "-") not in {"utf-8", "utf8"}:
        return "The request must be encoded in UTF-8."
    if "\x00" in request.path or "\ufffd" in request.path or _HALF.search(request.path):
        return "The URL contains a character that cannot be read."
    if not _is_storable_text(request.META.get("QUERY_STRING", "")):
        return "The query string contains bytes that are not UTF-8 text, or a NUL character."
    if _has_unreadable(request.COOKIES.values()):
        return "A cookie contains a character that cannot be read. Delete the cookies of this site."
    if _has_unreadable(value for name, value in request.META.items() if name.startswith("HTTP_")):
        return "A header contains a character that cannot be read."
    return ""


def check_body(request: HttpRequest) -> None:
    """Raise BadRequest for a form whose text cannot be stored."""
    if request.content_type == FORM and not _is_storable_text(request.body):
        raise BadRequest("The form contains bytes that are not UTF-8 text, or a NUL character.")
    if request.content_type == "multipart/form-data":
        fields = [text for name, values in request.POST.lists() for text in (name, *values)]
        names = [str(file.name) for files in request.FILES.lists() for file in files[1]]
        if _has_unreadable([*fields, *names]):
            raise BadRequest("The form contains a character that cannot be stored, such as NUL.")


def _is_storable_text(encoded: str | bytes) -> bool:
    """True if percent-encoded data decodes to text that can be stored."""
    try:
        return "\x00" not in unquote_to_bytes(encoded).decode()
    except UnicodeError:
        return False


def _has_unreadable(texts: Iterable[object]) -> bool:
    return any("\x00" in text or _HALF.search(text) for text in texts if isinstance(text, str))


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Render a 400 page with the reason, if Groove raised the error."""
    reason = str(exception) if isinstance(exception, BadRequest) else ""
    return HttpResponse(render_to_string("400.html", {"reason": reason}), status=400)


class _Checks:
    """Checks the head of a request first, and its body when the route is known."""

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self._get_response = get_response

    def _refuse(self, request: HttpRequest) -> HttpResponse | None:
        reason = find_fault(request)
        return bad_request(request, BadRequest(reason)) if reason else None

    def process_view(
        self, request: HttpRequest, view: object, args: object, kwargs: dict[str, object]
    ) -> HttpResponseBase | None:
        """Raise BadRequest for an unreadable form, and Http404 for numbers beyond any primary key."""
        if any(isinstance(value, int) and value > GREATEST for value in kwargs.values()):
            raise Http404
        if request.method in BODIES:
            check_body(request)
        return None


class _SyncChecks(_Checks):
    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        refused = self._refuse(request)
        response: HttpResponseBase = refused or self._get_response(request)
        return response


class _AsyncChecks(_Checks):
    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        refused = self._refuse(request)
        response: HttpResponseBase = refused or await self._get_response(request)
        return response


@sync_and_async_middleware
def refuse_unreadable(get_response: Callable[[HttpRequest], Any]) -> _Checks:
    """Middleware that refuses unreadable requests. Install it first."""
    return _AsyncChecks(get_response) if iscoroutinefunction(get_response) else _SyncChecks(get_response)
