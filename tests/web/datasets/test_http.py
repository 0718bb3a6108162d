"""Uploads over a real connection, which may break."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client

from tests.conftest import free_port, until_up
from webapp.datasets.models import Upload
from webapp.home.sample_project import create_sample_project
from webapp.teams.models import Team, User

TOKEN = "t" * 32
BOUNDARY = "----boundary"


@pytest.fixture
def port(start: Callable[..., subprocess.Popen[bytes]]) -> int:
    """A web process's port."""
    found = free_port()
    start("uvicorn", "webapp.config.asgi:application", "--port", str(found), "--lifespan", "off")
    until_up(f"http://127.0.0.1:{found}")
    return found


def body(rows: int) -> bytes:
    fields = {"csrfmiddlewaretoken": TOKEN, "validation": "10", "test": "10"}
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n'
    data = "".join(f'{{"messages":[{{"role":"user","content":"p {n}"}}]}}\n' for n in range(rows))
    return ("".join(parts) + head + data + f"\r\n--{BOUNDARY}--\r\n").encode()


def send(port: int, team: Team, session: str, payload: bytes, length: int) -> bytes:
    """Announce ``length`` bytes, send ``payload``, and return the first bytes of the response, if any."""
    head = (
        f"POST /t/{team.slug}/datasets/new/ HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
        f"Cookie: sessionid={session}; csrftoken={TOKEN}\r\nContent-Length: {length}\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(head.encode() + payload)
        if len(payload) < length:
            connection.shutdown(socket.SHUT_WR)
        return connection.recv(100)


def test_a_half_sent_file_leaves_nothing(
    port: int, team: Team, alice: User, as_user: Callable[[User], Client]
) -> None:
    session, whole = as_user(alice).cookies["sessionid"].value, body(50_000)
    before = set(os.listdir(settings.FILE_UPLOAD_TEMP_DIR))
    answer = send(port, team, session, whole[: len(whole) // 2], len(whole))
    assert b" 302" not in answer
    assert not Upload.objects.exists()
    assert set(os.listdir(settings.FILE_UPLOAD_TEMP_DIR)) <= before
    assert not list(Path(settings.VAR_DIR).glob(f"storage/teams/{team.pk}/uploads/*"))
    assert b" 302" in send(port, team, session, whole, len(whole))
    assert Upload.objects.get().report["rows"] == 50_000


def test_a_download_is_the_stored_file(
    port: int, team: Team, alice: User, as_user: Callable[[User], Client]
) -> None:
    version = create_sample_project(team, alice)[0].versions.get()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{version.get_absolute_url()}download/?split=train",
        headers={"Cookie": f"sessionid={as_user(alice).cookies['sessionid'].value}"},
    )
    with urllib.request.urlopen(request) as answer:
        data = answer.read()
    assert hashlib.sha256(data).hexdigest() == version.files["train"]["sha256"]
