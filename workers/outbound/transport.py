"""An httpx transport that checks every connection and caps every answer.

The resolved address is checked and then connected to, so that a second look-up cannot lead elsewhere (DNS
rebinding). It asks for answers without compression, because a small compressed one can become a huge one.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpcore2
import httpx2

from workers.outbound.addresses import AllowList, operator_allow_list, operator_proxy, refusal
from workers.outbound.errors import AddressRefused, AnswerRefused

ERROR_BYTES = 64 * 1024  # of a response with an error status
CONNECT_SECONDS = 30.0


@dataclass(frozen=True)
class Caps:
    """The limits of one answer: bytes of its body, and seconds from the request to its last byte."""

    size: int
    seconds: float


async def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a host. Raises ``httpcore2.ConnectError``."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise httpcore2.ConnectError("the host name does not resolve") from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class CheckedBackend(httpcore2.AsyncNetworkBackend):
    """Connects to allowed addresses only."""

    def __init__(self, allow: AllowList) -> None:
        self._allow, self._inner = allow, httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Resolve, check and connect. Raises ``AddressRefused``."""
        try:
            async with asyncio.timeout(timeout or CONNECT_SECONDS):
                return await self._connect(host, port, socket_options)
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout("the connection took too long") from error

    async def _connect(
        self, host: str, port: int, options: Iterable[httpcore2.SOCKET_OPTION] | None
    ) -> httpcore2.AsyncNetworkStream:
        failure: Exception = httpcore2.ConnectError("no address")
        for address in self._allow.select(host, port, await resolve(host, port)):
            try:
                stream = await self._inner.connect_tcp(address, port, socket_options=options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
                continue
            await self._check_peer(stream, host, port)
            return stream
        raise failure

    async def _check_peer(self, stream: httpcore2.AsyncNetworkStream, host: str, port: int) -> None:
        try:
            self._allow.select(host, port, [stream.get_extra_info("server_addr")[0]])
        except AddressRefused:
            await stream.aclose()
            raise

    async def connect_unix_socket(self, path: str, *_: Any, **__: Any) -> httpcore2.AsyncNetworkStream:
        """Raises ``AddressRefused``: a URL must not reach sockets of this machine."""
        raise refusal(path)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class OutboundTransport(httpx2.AsyncBaseTransport):
    """Give it to an ``httpx2.AsyncClient`` with ``trust_env=False``.

    ``allow`` replaces the operator's list and proxy. The operator's proxy resolves and connects by itself:
    then only what this machine can resolve is checked.
    """

    def __init__(self, caps: Caps, allow: AllowList | None = None) -> None:
        self._caps, self._allow = caps, operator_allow_list() if allow is None else allow
        proxy = operator_proxy() if allow is None else ""
        self._proxied = bool(proxy)
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=httpx2.create_ssl_context(),
            proxy=_build_proxy(proxy) if proxy else None,
            network_backend=httpcore2.AnyIOBackend() if proxy else CheckedBackend(self._allow),
            max_connections=None,
            keepalive_expiry=5.0,
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send the request. Raises ``OutboundError`` and httpx's own errors."""
        deadline = asyncio.get_running_loop().time() + self._caps.seconds
        request.headers["accept-encoding"] = "identity"
        async with _map_errors(deadline):
            if self._proxied:
                await self._check_for_proxy(request.url)
            answer = await self._pool.handle_async_request(_core_request(request))
        body = _CappedStream(answer, self._caps, deadline)
        response = httpx2.Response(
            answer.status, headers=answer.headers, stream=body, extensions=answer.extensions
        )
        if response.headers.get("content-encoding", "identity").strip().lower() not in {"", "identity"}:
            await body.aclose()
            raise AnswerRefused("The answer is compressed although it was asked for uncompressed.")
        return response

    async def _check_for_proxy(self, url: httpx2.URL) -> None:
        port = url.port or (443 if url.scheme == "https" else 80)
        try:
            found = await resolve(url.host, port)
        except httpcore2.ConnectError:
            return
        self._allow.select(url.host, port, found)

    async def aclose(self) -> None:
        await self._pool.aclose()


class _CappedStream(httpx2.AsyncByteStream):
    """The body of an answer, up to the caps."""

    def __init__(self, answer: httpcore2.Response, caps: Caps, deadline: float) -> None:
        self._answer, self._deadline = answer, deadline
        self._most = caps.size if answer.status < 300 else min(caps.size, ERROR_BYTES)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        parts, size = self._answer.aiter_stream(), 0
        while True:
            async with _map_errors(self._deadline):
                part = await anext(parts, None)
            if part is None:
                return
            size += len(part)
            if size > self._most:
                raise AnswerRefused(f"The answer is larger than {self._most:,} bytes.")
            yield part

    async def aclose(self) -> None:
        await self._answer.aclose()


@asynccontextmanager
async def _map_errors(deadline: float) -> AsyncIterator[None]:
    """Raise httpx's error for one of httpcore, and ``ReadTimeout`` after the deadline."""
    try:
        async with asyncio.timeout_at(deadline):
            yield
    except TimeoutError as error:
        raise httpx2.ReadTimeout("the answer took too long") from error
    except (httpcore2.TimeoutException, httpcore2.NetworkError, httpcore2.ProtocolError) as error:
        raise getattr(httpx2, type(error).__name__)(str(error)) from error
    except (httpcore2.ProxyError, httpcore2.UnsupportedProtocol) as error:
        raise httpx2.ProxyError(str(error)) from error


def _core_request(request: httpx2.Request) -> httpcore2.Request:
    url = request.url
    target = httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
    return httpcore2.Request(
        method=request.method,
        url=target,
        headers=request.headers.raw,
        content=request.stream,
        extensions=request.extensions,
    )


def _build_proxy(url: str) -> httpcore2.Proxy:
    parsed = httpx2.Proxy(url)
    return httpcore2.Proxy(str(parsed.url), auth=parsed.raw_auth)
