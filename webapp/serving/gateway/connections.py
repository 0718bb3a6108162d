"""Connections to model servers. Each is kept while it is idle, for the next request.

A general HTTP client spends more time on a request than all the rest of the gateway. Model servers need
little of it: one POST of JSON by HTTP/1.1, without redirects, cookies or proxies.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from urllib.parse import SplitResult, urlsplit
from weakref import WeakKeyDictionary

import h11

CONNECT_SECONDS, SILENT_SECONDS = 5.0, 600.0
IDLE_SECONDS = 4.0  # model servers close idle connections after 5
MOST_IDLE = 64  # of each server
READ_BYTES = 2**16


class NotConnected(Exception):
    """Nothing listens at the address, so nothing was sent."""


class ConnectionBroken(Exception):
    """The connection ended, or nothing came for too long, before the response was complete."""


class Connection:
    """Sends one request after the other to one server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._state = h11.Connection(h11.CLIENT)
        self._used_at = time.monotonic()

    @property
    def usable(self) -> bool:
        """True if the server has probably not closed the connection while it was idle."""
        return not self._reader.at_eof() and time.monotonic() - self._used_at < IDLE_SECONDS

    async def send(self, request: h11.Request, content: bytes) -> h11.Response:
        """Send a request and return the head of the response. Raises ConnectionBroken."""
        events = (request, h11.Data(data=content), h11.EndOfMessage())
        self._writer.write(b"".join(self._state.send(event) or b"" for event in events))
        while not isinstance(event := await self._receive(), h11.Response):
            pass  # an informational response
        return event

    async def receive_body(self) -> AsyncIterator[bytes]:
        """Yield the response's body as it arrives. Raises ConnectionBroken."""
        while isinstance(event := await self._receive(), h11.Data):
            yield bytes(event.data)

    async def _receive(self) -> object:
        try:
            while (event := self._state.next_event()) is h11.NEED_DATA:
                async with asyncio.timeout(SILENT_SECONDS):
                    self._state.receive_data(await self._reader.read(READ_BYTES))
        except (h11.RemoteProtocolError, OSError) as error:  # a time-out is an OSError
            raise ConnectionBroken from error
        return event

    def reset(self) -> bool:
        """Make ready for another request. Return False if the last one did not end as it should."""
        self._used_at = time.monotonic()
        try:
            self._state.start_next_cycle()
        except h11.LocalProtocolError:
            return False
        return True

    def close(self) -> None:
        """End the connection, which also stops what the server generates for it."""
        self._writer.close()


class Response:
    """A model server's response, whose body is still to be read. Close it in any case."""

    def __init__(self, head: h11.Response, connection: Connection, idle: deque[Connection]) -> None:
        self.status = head.status_code
        self._connection, self._idle = connection, idle

    def receive(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives. Raises ConnectionBroken."""
        return self._connection.receive_body()

    async def read(self) -> bytes:
        """Return the whole body. Raises ConnectionBroken."""
        return b"".join([block async for block in self.receive()])

    def close(self) -> None:
        """Keep the connection for the next request if this one is complete; otherwise end it."""
        if self._connection.reset() and len(self._idle) < MOST_IDLE:
            self._idle.append(self._connection)
        else:
            self._connection.close()


_idle: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, deque[Connection]]] = WeakKeyDictionary()


async def post_json(url: str, headers: Mapping[str, str], content: bytes) -> Response:
    """Send JSON. Raises NotConnected and ConnectionBroken."""
    address = urlsplit(url)
    servers = _idle.setdefault(asyncio.get_running_loop(), {})
    for connections in servers.values():
        _close_unusable(connections)
    idle = servers.setdefault(address.netloc, deque())
    connection = idle.pop() if idle else await _connect(address)
    fixed = {"Host": address.netloc, "Content-Type": "application/json", "Content-Length": str(len(content))}
    fields = [*fixed.items(), *headers.items()]
    try:
        head = await connection.send(h11.Request(method="POST", target=address.path, headers=fields), content)
    except BaseException:
        connection.close()
        raise
    return Response(head, connection, idle)


def _close_unusable(connections: deque[Connection]) -> None:
    """Close idle connections that have ended or are too old. The oldest come first."""
    while connections and not connections[0].usable:
        connections.popleft().close()
    while connections and not connections[-1].usable:
        connections.pop().close()


async def _connect(address: SplitResult) -> Connection:
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            return Connection(*await asyncio.open_connection(address.hostname, address.port))
    except OSError as error:  # also a time-out
        raise NotConnected from error


async def close_connections() -> None:
    """Close the idle connections of this event loop. Call it where the loop ends with the work."""
    for connections in _idle.pop(asyncio.get_running_loop(), {}).values():
        for connection in connections:
            connection.close()
    await asyncio.sleep(0)  # transports close in the loop's next turn
