"""``Idempotency-Key``: a POST below ``/v1`` that is sent again gets the first answer for a day.

A lock of the database lets twins that arrive at once run one after the other. It belongs to the
connection, so that it ends with its process.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from hashlib import sha256
from typing import Any

from asgiref.sync import async_to_sync, iscoroutinefunction
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone
from django.utils.deprecation import MiddlewareMixin

from webapp.core.api.errors import ApiError
from webapp.core.api.middleware import PREFIX
from webapp.keys.authentication import find_key_access
from webapp.keys.limits import count_request
from webapp.keys.models import ApiKey, StoredAnswer
from workers.contract.json_types import JsonObject

HEADER = "Idempotency-Key"
REPLAYED = "idempotent-replayed"
MOST_CHARACTERS = 255
MOST_BYTES = 2**20  # of an answer that is stored
KEPT = timedelta(hours=24)
WAIT_SECONDS = 30.0
POLL_SECONDS = 0.05
# Statuses that OpenAI's SDK retries, and refused keys: a later request may end otherwise.
NOT_FINAL = {401, 408, 409, 429}
FIRST_FAULT = 500


class IdempotentAnswers(MiddlewareMixin):
    """Middleware that answers a POST once for each ``Idempotency-Key`` of an API key. Install it last."""

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: list[Any], kwargs: JsonObject
    ) -> HttpResponseBase | None:
        """Run the view in this thread: its answer is stored even if the caller leaves."""
        name = request.headers.get(HEADER, "")
        if request.method != "POST" or not name or not request.path.startswith(PREFIX):
            return None
        access = find_key_access(request.headers.get("Authorization", ""))
        if access is None:
            return None  # the view refuses it
        run = async_to_sync(view) if iscoroutinefunction(view) else view
        try:
            return answer_once(access.key, name, request, lambda: run(request, *args, **kwargs))
        except ApiError as error:
            return error.build_response()


def answer_once(
    key: ApiKey, name: str, request: HttpRequest, respond: Callable[[], HttpResponseBase]
) -> HttpResponseBase:
    """Return the stored answer, or respond and store it.

    Raises ApiError: 400 if the name was used for another request, 409 while a twin runs for too long.
    """
    if len(name) > MOST_CHARACTERS:
        raise ApiError(f"The header {HEADER} may have {MOST_CHARACTERS} characters at most.")
    digest = _digest_request(request)
    with _hold_lock(key, name):
        stored = StoredAnswer.objects.filter(key=key, name=name, created_at__gt=timezone.now() - KEPT).first()
        if stored:
            return _replay(stored, digest)
        response = respond()
        if isinstance(response, HttpResponse) and _is_final(response):
            _store(key, name, digest, response)
    return response


def _digest_request(request: HttpRequest) -> str:
    """Return a SHA-256 of the request. A form counts by its fields: each attempt has another boundary."""
    if request.content_type != "multipart/form-data":
        return sha256(f"{request.get_full_path()}\n".encode() + request.body).hexdigest()
    files = []
    for field, uploads in request.FILES.lists():
        for file in uploads:
            content = sha256()
            for chunk in file.chunks():
                content.update(chunk)
            file.seek(0)
            files.append([field, file.name, content.hexdigest()])
    form = [request.get_full_path(), sorted(request.POST.lists()), files]
    return sha256(json.dumps(form).encode()).hexdigest()


@contextmanager
def _hold_lock(key: ApiKey, name: str) -> Iterator[None]:
    """Hold the lock of this name. Raises ApiError (409) if a twin holds it for too long."""
    number = int.from_bytes(sha256(f"{key.pk}:{name}".encode()).digest()[:8], "big", signed=True)
    deadline = time.monotonic() + WAIT_SECONDS
    with connection.cursor() as cursor:
        while not _select(cursor, "select pg_try_advisory_lock(%s)", number):
            if time.monotonic() > deadline:
                raise ApiError(f"A request with this {HEADER} is still running. Try again.", status=409)
            time.sleep(POLL_SECONDS)
        try:
            yield
        finally:
            _select(cursor, "select pg_advisory_unlock(%s)", number)


def _select(cursor: Any, query: str, number: int) -> bool:
    cursor.execute(query, [number])
    return bool(cursor.fetchone()[0])


def _is_final(response: HttpResponse) -> bool:
    status = response.status_code
    is_json = response.headers.get("Content-Type", "").startswith("application/json")
    return (
        is_json and status < FIRST_FAULT and status not in NOT_FINAL and len(response.content) <= MOST_BYTES
    )


def _store(key: ApiKey, name: str, digest: str, response: HttpResponse) -> None:
    values = {
        "request_sha256": digest,
        "status": response.status_code,
        "body": response.content.decode(),
        "created_at": timezone.now(),
    }
    StoredAnswer.objects.update_or_create(key=key, name=name, defaults=values)


def _replay(stored: StoredAnswer, digest: str) -> HttpResponse:
    count_request(stored.key)
    if stored.request_sha256 != digest:
        raise ApiError(f"This {HEADER} was used for another request. Use a new one for each request.")
    return HttpResponse(stored.body, "application/json", status=stored.status, headers={REPLAYED: "true"})


def delete_expired_answers() -> int:
    """Delete the answers that are not replayed any more. Returns their number."""
    deleted, _ = StoredAnswer.objects.filter(created_at__lte=timezone.now() - KEPT).delete()
    return deleted
