"""HTTP to an environment's server: through the outbound door, within caps, with errors in our own words."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TypeVar

import httpx2

from workers.contract.environments import ServerEnvironment
from workers.contract.json_types import JsonObject, JsonValue
from workers.grading.sample import parse_json
from workers.outbound import (
    AddressRefused,
    AnswerRefused,
    Caps,
    OutboundTransport,
    check_url,
    explain,
    require_https,
)

Result = TypeVar("Result")

MOST_BYTES = 4 << 20
MOST_LIST_BYTES = 64 << 20
ATTEMPTS = 3
BACKOFF_SECONDS = 0.3
LOG = "The server's log says why."
BUSY = frozenset({429, 502, 503, 504})
REMEDIES = {
    401: "Check the secret of the connection.",
    403: "Check what the secret of the connection may use.",
    404: "Check the URL.",
    429: "Lower how many calls the connection makes at once.",
}


class RequestFailed(Exception):
    """A request without a usable answer. Its texts quote nothing that the server sent.

    ``status`` is the HTTP status, if there was one. ``unusable``: no session can be played at the server, for
    it cannot be reached or refuses the secret. ``sent`` is False if the server has certainly not acted.
    ``broken``: the connection broke off.
    """

    def __init__(
        self,
        cause: str,
        remedy: str,
        *,
        status: int = 0,
        unusable: bool = False,
        sent: bool = True,
        broken: bool = False,
    ) -> None:
        super().__init__(f"{cause}. {remedy}")
        self.cause, self.remedy, self.status = cause, remedy, status
        self.unusable, self.sent, self.broken = unusable, sent, broken

    def may_repeat(self, repeatable: bool) -> bool:
        """Return True if the request may be sent again. ``repeatable`` ones may reach the server twice."""
        return not self.sent or (repeatable and (self.broken or self.status in BUSY))


class ServerClient:
    """Requests to one server, within one event loop."""

    def __init__(self, environment: ServerEnvironment, headers: Mapping[str, str]) -> None:
        self.url = environment.url
        self.seconds = environment.timeout_seconds
        self._slots = asyncio.Semaphore(environment.concurrency)
        try:
            check_url(self.url)
            if headers:
                require_https(self.url)  # a secret must not travel in the clear
            self.host = httpx2.URL(self.url).host
        except (AddressRefused, httpx2.InvalidURL) as error:
            cause = str(error).rstrip(".") if isinstance(error, AddressRefused) else "the URL cannot be read"
            raise RequestFailed(cause, "Change the URL of the connection.", unusable=True) from None
        self._client = httpx2.AsyncClient(
            transport=OutboundTransport(Caps(MOST_LIST_BYTES, self.seconds)),
            trust_env=False,
            timeout=self.seconds,
            headers=dict(headers),
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def request_json(
        self,
        method: str,
        path: str,
        body: JsonObject | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        repeatable: bool = False,
        most: int = MOST_BYTES,
    ) -> JsonValue:
        """Send a request and return the JSON of its answer. Raises ``RequestFailed``."""

        async def send() -> JsonValue:
            async with self.stream(method, path, body, headers) as answer:
                return self.parse(await self.read(answer, most))

        return await self.repeat(send, lambda: repeatable)

    async def repeat(self, send: Callable[[], Awaitable[Result]], repeatable: Callable[[], bool]) -> Result:
        """Send a request, and again after a failure that allows it. Raises ``RequestFailed``."""
        async with self._slots:
            for attempt in range(ATTEMPTS):
                try:
                    return await send()
                except RequestFailed as error:
                    if attempt == ATTEMPTS - 1 or not error.may_repeat(repeatable()):
                        raise
                await asyncio.sleep(BACKOFF_SECONDS * 2**attempt)
        raise AssertionError("the last attempt returns or raises")

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        body: JsonObject | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[httpx2.Response]:
        """Send one request, to the URL or a path below it, and yield its answer, of status 2xx.

        Raises ``RequestFailed``, also inside the block.
        """
        fields = {"content-type": "application/json"} if body is not None else {}
        content = json.dumps(body).encode() if body is not None else None
        try:
            async with (
                asyncio.timeout(self.seconds),
                self._client.stream(
                    method,
                    self.url.rstrip("/") + path if path else self.url,
                    content=content,
                    headers={**fields, **(headers or {})},
                ) as answer,
            ):
                if not answer.is_success:
                    raise self._refused(answer.status_code)
                yield answer
        except TimeoutError:
            cause = f"{self.host} did not answer within {self.seconds:g} s"
            raise RequestFailed(cause, "Raise the time limit of the connection.") from None
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise self._describe(error) from None

    async def read(self, answer: httpx2.Response, most: int) -> bytes:
        """Return the body of an answer. Raises ``RequestFailed`` if it is too large."""
        parts = bytearray()
        async for part in answer.aiter_bytes():
            parts += part
            if len(parts) > most:
                raise self.too_large(most)
        return bytes(parts)

    def parse(self, content: bytes | str) -> JsonValue:
        """Return the JSON of an answer. Raises ``RequestFailed``."""
        try:
            value: JsonValue = parse_json(content.decode() if isinstance(content, bytes) else content)
        except ValueError:
            raise self.no_form() from None
        return value

    def read_list(self, answer: JsonValue, name: str) -> list[JsonValue]:
        """Return a list that an object of the server holds. Raises ``RequestFailed``."""
        value = answer.get(name) if isinstance(answer, dict) else None
        if not isinstance(value, list):
            raise self.no_form()
        return value

    def no_form(self) -> RequestFailed:
        """Return the error for an answer that the protocol does not know."""
        cause = f"{self.host} sent an answer in no known form"
        return RequestFailed(cause, "Check that the URL leads to a server of this kind.")

    def broke_off(self) -> RequestFailed:
        """Return the error for an answer without an end."""
        return RequestFailed(f"{self.host} broke off its answer", LOG, broken=True)

    def too_large(self, most: int) -> RequestFailed:
        """Return the error for an answer beyond the cap."""
        return RequestFailed(f"{self.host} sent more than {most:,} bytes", "Let the server send less.")

    def _refused(self, status: int) -> RequestFailed:
        if status in range(300, 400):
            cause = f"{self.host} redirects to another URL (status {status})"
            return RequestFailed(cause, "Give that URL.", status=status)
        cause = f"{self.host} answered with status {status}"
        remedy = REMEDIES.get(status, LOG)
        return RequestFailed(cause, remedy, status=status, unusable=status in (401, 403))

    def _describe(self, error: httpx2.HTTPError | httpx2.InvalidURL) -> RequestFailed:
        if isinstance(error, AddressRefused):
            return RequestFailed(str(error).rstrip("."), "Change the URL of the connection.", unusable=True)
        if isinstance(error, httpx2.SSEError):
            return self.no_form()
        if isinstance(error, AnswerRefused):
            return RequestFailed(str(error).rstrip("."), "Let the server send less.")
        remedy = "Check the URL, and that the server runs."
        unsent = isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout)
        broken = isinstance(error, httpx2.NetworkError | httpx2.ProtocolError)
        cause = f"{self.host} cannot be reached: {explain(error)}"
        return RequestFailed(cause, remedy, unusable=unsent, sent=not unsent, broken=broken)
