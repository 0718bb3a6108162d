"""Connections to model servers: kept while the server keeps them, and never silent about an end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.conftest import free_port
from webapp.serving.gateway import connections
from webapp.serving.gateway.connections import ConnectionBroken, NotConnected, close_connections, post_json

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
UNTIL_CLOSED = b"HTTP/1.1 200 OK\r\n\r\n{}"
HALF = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}"


def run(answers: list[bytes], check: Callable[[str, list[bytes]], Awaitable[None]]) -> int:
    """Run the check with a server's URL and what it was asked; return how many connections it got.

    The server sends one answer for each request, and then closes if the next answer is empty.
    """

    async def main() -> int:
        asked: list[bytes] = []
        connected = 0

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal connected
            connected += 1
            while answers and answers[0] and (head := await reader.readuntil(b"\r\n\r\n")):
                asked.append(head + await reader.readexactly(2))
                writer.write(answers.pop(0))
            if answers:
                answers.pop(0)
                writer.close()
            await reader.read()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        await check(f"http://127.0.0.1:{port}/v1/chat/completions", asked)
        await close_connections()
        server.close()
        return connected

    return asyncio.run(main())


async def ask(url: str) -> bytes:
    response = await post_json(url, {"Authorization": "Bearer t"}, b"[]")
    try:
        return await response.read()
    finally:
        response.close()


@pytest.mark.parametrize(("answer", "used"), [(ANSWER, 1), (CHUNKED, 1), (UNTIL_CLOSED, 2)])
def test_a_connection_serves_the_next_request_if_the_server_keeps_it(answer: bytes, used: int) -> None:
    async def check(url: str, asked: list[bytes]) -> None:
        assert [await ask(url), await ask(url)] == [b"{}", b"{}"]
        head, _, body = asked[0].partition(b"\r\n\r\n")
        assert head.startswith(b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:")
        assert (b"Authorization: Bearer t" in head, body) == (True, b"[]")

    answers = [answer, b"", answer, b""] if used == 2 else [answer, answer, b""]
    assert run(answers, check) == used


def test_a_connection_that_the_server_closed_while_it_was_idle_is_not_used_again() -> None:
    async def check(url: str, _: list[bytes]) -> None:
        await ask(url)
        await asyncio.sleep(0.05)
        assert await ask(url) == b"{}"

    assert run([ANSWER, b"", ANSWER, b""], check) == 2


@pytest.mark.parametrize("answer", [HALF, b"HTTP/1.1 200", b"not HTTP\r\n\r\n"])
def test_an_answer_that_ends_early_is_an_error(answer: bytes) -> None:
    async def check(url: str, _: list[bytes]) -> None:
        with pytest.raises(ConnectionBroken):
            await ask(url)

    assert run([answer, b""], check) == 1


def test_a_server_that_says_nothing_is_an_error_after_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "SILENT_SECONDS", 0.05)

    async def check(url: str, _: list[bytes]) -> None:
        with pytest.raises(ConnectionBroken):
            await ask(url)

    run([b"HTTP/1.1 200 OK\r\n"], check)


def test_an_address_where_nothing_listens_is_another_error() -> None:
    with pytest.raises(NotConnected):
        asyncio.run(ask(f"http://127.0.0.1:{free_port()}/v1/chat/completions"))
