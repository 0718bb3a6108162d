"""Requests with a body: only the status of the response is read, and only for so long."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from workers.outbound import AddressRefused, AllowList, AnswerRefused, OutboundError, require_https
from workers.outbound.sending import send

LOOPBACK = AllowList.parse(["127.0.0.1"])


def post(url: str, allow: AllowList = LOOPBACK) -> int:
    return asyncio.run(send(url, b"{}", headers={}, max_seconds=1, allow=allow))


@pytest.fixture
def slow() -> Iterator[str]:
    """A server that sends one byte of its response's head every 0.1 s."""
    listener = socket.create_server(("127.0.0.1", 0))

    def drip() -> None:
        connection, _ = listener.accept()
        with connection:
            for byte in b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100:
                try:
                    connection.send(bytes([byte]))
                except OSError:
                    return
                time.sleep(0.1)

    threading.Thread(target=drip, daemon=True).start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    listener.close()


def test_a_server_that_answers_slowly_is_cut_off(slow: str) -> None:
    started = time.monotonic()
    with pytest.raises(OutboundError):
        post(slow)
    assert time.monotonic() - started < 3


def test_a_body_of_any_length_is_left_unread() -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def flood() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.send(b"HTTP/1.1 202 Accepted\r\ncontent-length: 1000000000\r\n\r\n")

    threading.Thread(target=flood, daemon=True).start()
    with listener:
        assert post(f"http://127.0.0.1:{listener.getsockname()[1]}/") == 202


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "http://10.0.0.1/", "gopher://127.0.0.1/"])
def test_addresses_are_checked_before_anything_is_sent(url: str) -> None:
    with pytest.raises(AddressRefused):
        post(url, AllowList())


@pytest.mark.parametrize(
    ("entries", "url", "allowed"),
    [
        ("", "https://hook.example/", True),
        ("", "http://hook.example/", False),
        ("hook.example", "http://HOOK.example./", True),
        ("hook.example:8080", "http://hook.example/", False),
        ("hook.example:8080", "http://hook.example:8080/", True),
        ("10.0.0.0/8", "http://10.1.2.3/", True),
        ("10.0.0.0/8", "http://hook.example/", False),
        ("10.0.0.0/8", "https://127.0.0.1/", False),
    ],
)
def test_tls_is_required_unless_the_operator_lists_the_host(entries: str, url: str, allowed: bool) -> None:
    allow = AllowList.parse(entries.split(","))
    if allowed:
        return require_https(url, allow)
    with pytest.raises(AddressRefused):
        require_https(url, allow)
    return None


def test_a_refused_connection_is_explained() -> None:
    with pytest.raises(OutboundError, match="connection refused") as caught:
        post("http://127.0.0.1:1/")
    assert not isinstance(caught.value, AnswerRefused)
