"""Bodies are limited before anything is stored: by route, by sender, and by speed."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx2
import pytest
from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.test import Client

from tests.conftest import Process, free_port, until_up
from webapp.config import bodies
from webapp.config.bodies import FORM_BYTES, BodyRefused, LimitedBody, LimitedHandler, LimitedRequest
from webapp.keys.models import Scope
from webapp.keys.services import create_key
from webapp.teams.models import Team, User

Start = Callable[..., Process]
SignIn = Callable[[User], Client]


@pytest.fixture
def web(start: Start) -> str:
    port = free_port()
    start("uvicorn", "webapp.config.asgi:application", "--port", str(port), "--lifespan", "off")
    return until_up(f"http://127.0.0.1:{port}")


def spooled(process_folder: Path) -> int:
    return sum(file.stat().st_size for file in process_folder.iterdir() if file.is_file())


def test_only_editors_send_large_bodies_and_only_to_upload_routes(
    web: str, team: Team, alice: User, bob: User, as_user: SignIn
) -> None:
    big, file = b"x" * (FORM_BYTES + 1), f"/t/{team.slug}/datasets/new/"
    cookies = {user: {"sessionid": as_user(user).cookies["sessionid"].value} for user in (alice, bob)}
    form = {"content-type": "application/x-www-form-urlencoded"}
    routes = ("/", "/accounts/login/", "/nowhere/", "/static/x", f"/t/{team.slug}/settings/", file)
    with httpx2.Client(base_url=web, headers=form, trust_env=False) as client:
        for route in routes:
            assert client.post(route, content=big).status_code == 413, route
        for route in routes[:-1]:
            assert client.post(route, content=big, cookies=cookies[alice]).status_code == 413, route
        assert client.post(file, content=big, cookies=cookies[bob]).status_code == 413
        assert (
            client.post(f"/t/no-{team.slug}/datasets/new/", content=big, cookies=cookies[alice]).status_code
            == 413
        )
        stream = {"content-type": "application/octet-stream"}
        passed = client.post(file, content=big, cookies=cookies[alice], headers=stream)
        assert passed.status_code == 403  # the form's token
        assert client.post(file, content=big, cookies=cookies[alice]).status_code == 400  # text without files
        assert client.post("/accounts/login/", content=b"a=b").status_code == 403


def test_below_v1_the_key_decides_how_large_a_body_may_be(
    web: str, team: Team, alice: User, bob: User
) -> None:
    editor, viewer = create_key(team, alice, "K", Scope)[1], create_key(team, bob, "K", Scope)[1]
    reader = create_key(team, alice, "K", [Scope.READ])[1]
    mebibyte = 2**20
    with httpx2.Client(base_url=web, trust_env=False) as client:

        def is_refused(path: str, size: int, secret: str) -> bool:
            headers = {"authorization": f"Bearer {secret}", "content-type": "application/json"}
            answer = client.post(f"/v1{path}", content=b" " * size, headers=headers)
            assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
            assert answer.headers["x-request-id"].startswith("req_")
            return answer.status_code == 413

        for path in ("/x", "/files", "/uploads/upload_1/parts"):
            assert is_refused(path, mebibyte + 1, "sk-groove-wrong"), path
            assert not is_refused(path, 4 * mebibyte, viewer), path
        for secret in (viewer, reader):
            assert is_refused("/files", 4 * mebibyte + 1, secret)
        assert is_refused("/x", 4 * mebibyte + 1, editor)
        assert is_refused("/files/x", 4 * mebibyte + 1, editor)
        for path, size in (("/files", 66), ("/uploads/upload_1/parts", 65), ("/chat/completions", 4)):
            assert not is_refused(path, size * mebibyte, editor), path
        for path, size in (("/uploads/upload_1/parts", 65), ("/chat/completions", 4)):
            assert is_refused(path, size * mebibyte + 1, editor), path


def test_json_below_v1_may_be_larger_than_a_form() -> None:
    head = scope(**{"content-length": str(4 * 2**20)}) | {"path": "/v1/x"}
    assert len(LimitedRequest(head, BytesIO(b" " * 4 * 2**20)).body) == 4 * 2**20
    for path, size in (("/x", FORM_BYTES + 1), ("/v1/files", 4 * 2**20 + 1)):
        with pytest.raises(RequestDataTooBig):
            assert LimitedRequest(head | {"path": path}, BytesIO(b" " * size)).body


def test_a_body_of_unknown_length_is_cut_off_and_nothing_stays(web: str) -> None:
    """A chunked body without end is refused at the limit."""
    host, port = web.removeprefix("http://").split(":")
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    with socket.create_connection((host, int(port)), timeout=20) as link:
        link.sendall(b"POST /x HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            for _ in range(200):
                link.sendall(chunk)
            answer = link.recv(100)
        except OSError:  # cut off while it sends, or before the answer was read
            pass
        else:
            assert answer.startswith(b"HTTP/1.1 413")
    folder = Path(settings.FILE_UPLOAD_TEMP_DIR)
    assert folder.stat().st_mode & 0o777 == 0o700
    end = time.monotonic() + 10
    while spooled(folder):  # the answer leaves before the file is removed
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_body_that_announces_too_much_is_refused_before_it_is_sent(web: str) -> None:
    host, port = web.removeprefix("http://").split(":")
    for length in (b"104857600", b"9" * 19):
        with socket.create_connection((host, int(port)), timeout=20) as link:
            head = b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nExpect: 100-continue\r\nContent-Length: %b\r\n\r\n"
            link.sendall(head % length)
            assert link.recv(100).startswith(b"HTTP/1.1 413")


def scope(**headers: str) -> dict[str, Any]:
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "method": "POST", "path": "/", "headers": pairs, "query_string": b""}


async def never() -> dict[str, Any]:
    await asyncio.sleep(60)
    raise AssertionError


def test_a_half_open_body_ends_with_408(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "IDLE_SECONDS", 0.1)
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(LimitedHandler()(scope(), never, send))
    assert sent[0]["status"] == 408


def test_a_steady_but_slow_body_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "GRACE_SECONDS", 0.3)

    async def drip() -> dict[str, Any]:
        await asyncio.sleep(0.05)
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def read() -> None:
        body = LimitedBody(drip, scope(), FORM_BYTES)
        while True:
            await body.receive()

    started = time.monotonic()
    with pytest.raises(BodyRefused) as refused:
        asyncio.run(read())
    assert refused.value.status == 408
    assert time.monotonic() - started < 5


def test_waiting_for_a_client_to_leave_has_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The event stream of a page waits for it while the page is open."""
    monkeypatch.setattr(bodies, "IDLE_SECONDS", 0.05)
    messages = [{"type": "http.request", "body": b"", "more_body": False}, {"type": "http.disconnect"}]

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0.2 if len(messages) == 1 else 0)
        return messages.pop(0)

    async def read() -> str:
        body = LimitedBody(receive, scope(), FORM_BYTES)
        await body.receive()
        return str((await body.receive())["type"])

    assert asyncio.run(read()) == "http.disconnect"
