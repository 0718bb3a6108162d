"""Limits of request bodies, enforced while they arrive and before Django stores anything.

Most routes accept small forms only. Upload routes accept larger bodies from editors of the team. Below
``/v1`` the key decides, not the session.
"""

from __future__ import annotations

import asyncio
import io
import re
import tempfile
import time
from collections.abc import Awaitable, Callable, MutableMapping
from importlib import import_module
from pathlib import Path
from typing import IO, Any

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.conf import settings
from django.contrib.auth import get_user
from django.core.exceptions import RequestAborted, RequestDataTooBig
from django.core.handlers.asgi import ASGIHandler, ASGIRequest
from django.db import connections
from django.http import Http404, HttpResponse, JsonResponse
from django.urls import Resolver404, resolve

from webapp.core.api.errors import build_envelope
from webapp.core.api.middleware import PREFIX
from webapp.core.fields import create_public_id
from webapp.core.request_ids import HEADER
from webapp.datasets.files.uploads import MAX_PART_BYTES
from webapp.keys.authentication import KeyAccess, find_key_access
from webapp.keys.models import Scope as KeyScope
from webapp.teams.access import find_access
from webapp.teams.models import Role, User

Message = MutableMapping[str, Any]  # of ASGI
Receive = Callable[[], Awaitable[Message]]
Scope = dict[str, Any]  # as Django's ASGIHandler declares it

TEXT = "text/plain; charset=utf-8"
FORM_BYTES = 2**20
PART_BYTES = 9 * 2**20  # one part of a resumable upload; the view checks the exact limit
API_BYTES = 4 * 2**20  # JSON
API_FILES = re.compile(r"/v1/files")
API_PARTS = re.compile(r"/v1/uploads/[^/]+/parts")
IDLE_SECONDS = 30.0
STALE_SECONDS = 24 * 3600
GRACE_SECONDS = 30.0
BYTES_PER_SECOND = 4096  # minimum rate of a body after GRACE_SECONDS


class BodyRefused(Exception):
    """A body that is too large (413) or arrives too slowly (408)."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status

    def build_response(self, path: str) -> HttpResponse:
        """Build a response that closes the connection, because the rest of the body is not read."""
        closing = {"Connection": "close"}
        if not path.startswith(PREFIX):
            return HttpResponse(f"{self}\n", TEXT, status=self.status, headers=closing)
        headers = closing | {HEADER: create_public_id("req_")}
        return JsonResponse(build_envelope(self.status, str(self)), status=self.status, headers=headers)


def prepare_folder() -> None:
    """Create the private folder of bodies and uploads, and delete leftovers of killed processes."""
    folder = Path(settings.FILE_UPLOAD_TEMP_DIR)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    for file in folder.glob("*.upload*"):
        if file.stat().st_mtime < time.time() - STALE_SECONDS:
            file.unlink(missing_ok=True)


def _upload_limits() -> dict[str, int]:
    """Return the limits in bytes by route name."""
    file = settings.MAX_UPLOAD_BYTES + FORM_BYTES
    return {
        "datasets:new": file,
        "datasets:transfer": PART_BYTES,
        "catalog:upload": file,
        "graders:import": 2 * FORM_BYTES,
    }


async def find_limit(scope: Scope) -> int:
    """Return the limit in bytes for the body of this request."""
    if scope["path"].startswith(PREFIX):
        return await _find_api_limit(scope)
    try:
        match = resolve(scope["path"])
    except (Resolver404, ValueError):
        return FORM_BYTES
    limit = _upload_limits().get(match.view_name, FORM_BYTES)
    if limit <= FORM_BYTES or scope["method"] in {"GET", "HEAD"}:
        return FORM_BYTES
    async with ThreadSensitiveContext():
        editor = await sync_to_async(_is_editor)(scope, match.kwargs["team"])
    return limit if editor else FORM_BYTES


async def _find_api_limit(scope: Scope) -> int:
    headers = dict(scope["headers"])
    announced = headers.get(b"content-length", b"")
    if announced.isdigit() and len(announced) <= len(str(FORM_BYTES)) and int(announced) <= FORM_BYTES:
        return FORM_BYTES  # no need to look for the key twice
    async with ThreadSensitiveContext():
        access = await sync_to_async(_find_access)(headers.get(b"authorization", b"").decode("latin-1"))
    return _get_api_limit(scope["path"], access) if access else FORM_BYTES


def _find_access(authorization: str) -> KeyAccess | None:
    try:
        return find_key_access(authorization)
    finally:
        connections.close_all()


def _get_api_limit(path: str, access: KeyAccess) -> int:
    if access.can_edit and KeyScope.WRITE in access.key.scopes:
        if API_FILES.fullmatch(path):
            return settings.MAX_API_FILE_BYTES + FORM_BYTES
        if API_PARTS.fullmatch(path):
            return MAX_PART_BYTES + FORM_BYTES
    return API_BYTES


def _is_editor(scope: Scope, team: str) -> bool:
    """True if the session of the request belongs to an editor of the team."""
    try:
        request = ASGIRequest(scope, io.BytesIO())
        store = import_module(settings.SESSION_ENGINE).SessionStore
        request.session = store(request.COOKIES.get(settings.SESSION_COOKIE_NAME))
        user = get_user(request)
        return isinstance(user, User) and find_access(user, team).may(Role.EDITOR)
    except (Http404, ValueError):
        return False
    finally:
        connections.close_all()


class LimitedBody:
    """Wraps an ASGI ``receive``. Raises BodyRefused for a body beyond the limits."""

    def __init__(self, receive: Receive, scope: Scope, limit: int) -> None:
        self._receive, self._limit = receive, limit
        self._size, self._complete = 0, False
        self._started = asyncio.get_running_loop().time()
        announced = dict(scope["headers"]).get(b"content-length", b"")
        if announced.isdigit() and (len(announced) > 18 or int(announced) > limit):
            raise self._too_large()

    def _too_large(self) -> BodyRefused:
        return BodyRefused(
            413, f"The request is larger than the {self._limit:,} bytes that this URL accepts from you."
        )

    async def receive(self) -> Message:
        """Return the next message. There is no limit once the body is complete."""
        if self._complete:
            return await self._receive()
        now = asyncio.get_running_loop().time()
        slowest = self._started + GRACE_SECONDS + self._size / BYTES_PER_SECOND
        try:
            async with asyncio.timeout(max(0.0, min(IDLE_SECONDS, slowest - now))):
                message = await self._receive()
        except TimeoutError:
            raise BodyRefused(408, "The request took too long to arrive. Send it again.") from None
        self._size += len(message.get("body", b""))
        if self._size > self._limit:
            raise self._too_large()
        self._complete = not message.get("more_body", False)
        return message


class LimitedRequest(ASGIRequest):
    """Below ``/v1`` reads a body into memory up to the largest limit of JSON, not of forms."""

    def _check_data_too_big(self, length: int) -> None:
        if not self.path.startswith(PREFIX):
            super()._check_data_too_big(length)  # type: ignore[misc]  # unknown to django-stubs
        elif length > API_BYTES:
            raise RequestDataTooBig(f"Bodies of more than {API_BYTES:,} bytes must be multipart.")


class LimitedHandler(ASGIHandler):
    """Django's handler with limits. Bodies are unnamed files in ``FILE_UPLOAD_TEMP_DIR``."""

    request_class = LimitedRequest

    async def handle(self, scope: Scope, receive: Any, send: Any) -> None:
        try:
            body = LimitedBody(receive, scope, await find_limit(scope))
            await super().handle(scope, body.receive, send)
        except BodyRefused as refused:
            await self.send_response(refused.build_response(scope["path"]), send)

    async def read_body(self, receive: Any) -> IO[bytes]:
        """Read the whole body into a file, which is deleted if this raises."""
        body = tempfile.SpooledTemporaryFile(  # noqa: SIM115 -- Django closes it with the request
            max_size=settings.FILE_UPLOAD_MAX_MEMORY_SIZE, dir=settings.FILE_UPLOAD_TEMP_DIR
        )
        try:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise RequestAborted
                body.write(message.get("body", b""))
                if not message.get("more_body", False):
                    break
        except BaseException:
            body.close()
            raise
        body.seek(0)
        return body
