"""Servers that answer wrongly harm nothing: their environment or their session is lost, with a reason."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from workers.contract.environments import OrsEnvironment
from workers.environments import open_backend
from workers.environments.backend import EnvironmentFault, SessionLost

EVENTS, SHORT = "text/event-stream", 200
TOOL = {"name": "add", "description": "Add.", "input_schema": None}
HEALTHY: dict[str, Any] = {
    "/list_environments": ["a"],
    "/a/tools": {"tools": [TOOL]},
    "/a/splits": ["train"],
    "/a/tasks": {"tasks": [{"n": 1}]},
    "/create_session": b"event: task_id\ndata: s1\n\nevent: end\ndata:\n\n",
    "/create": {},
    "/a/prompt": [{"type": "text", "text": "Go."}],
    "/a/call": b'event: task_id\ndata: c1\n\nevent: end\ndata: {"ok": true, "output": {"blocks": []}}\n\n',
}


@pytest.fixture
def answers() -> dict[str, Any]:
    return dict(HEALTHY)


@pytest.fixture
def url(answers: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("GROOVE_OUTBOUND_ALLOW", "127.0.0.1")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            answer = answers.get(self.path, {})
            body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("content-type", EVENTS if body.startswith(b"event") else "application/json")
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def output(**values: Any) -> bytes:
    answer = {"ok": True, "output": {"blocks": [], **values}}
    return f"event: task_id\ndata: c1\n\nevent: end\ndata: {json.dumps(answer)}\n\n".encode()


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/list_environments", {"a": 1}),
        ("/list_environments", b"<html>"),
        ("/list_environments", b"\xff\xfe"),
        ("/list_environments", b"[" * 5000),
        ("/a/tools", {"tools": {}}),
        ("/a/tools", {"tools": []}),
        ("/a/tools", {"tools": [TOOL] * 1000}),
        ("/a/tools", {"tools": [TOOL | {"name": "rm -rf\n"}]}),
        ("/a/tools", {"tools": [TOOL | {"name": 7}]}),
        ("/a/tools", {"tools": [TOOL | {"input_schema": [1]}]}),
        ("/a/tools", {"tools": [TOOL | {"input_schema": {"type": "object", "x": "y" * 100_000}}]}),
        ("/a/tools", b" " * (5 << 20)),
        ("/a/tasks", {"tasks": "all"}),
        ("/a/tasks", {"tasks": [1]}),
        ("/a/tasks", {"tasks": [{}] * 100_001}),
    ],
)
def test_an_environment_in_no_known_form_is_at_fault(
    url: str, answers: dict[str, Any], path: str, answer: Any
) -> None:
    answers[path] = answer
    with pytest.raises(EnvironmentFault) as fault, open_backend(OrsEnvironment(url=url)) as backend:
        backend.list_tasks("train")
    assert fault.value.remedy
    assert len(fault.value.cause) < SHORT


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/create_session", {}),
        ("/create_session", b"event: task_id\ndata: a b\n\nevent: end\ndata:\n\n"),
        ("/create_session", b"event: error\ndata: no\n\n"),
        ("/create_session", b"event: end\ndata: x\n\n"),
        ("/a/prompt", {"text": "Go."}),
        ("/a/prompt", [1]),
        ("/a/call", output(reward=float("nan"))),
        ("/a/call", output(reward=10**400)),
        ("/a/call", output(reward="1")),
        ("/a/call", output(reward=True)),
        ("/a/call", output(blocks=None)),
        ("/a/call", b"event: end\ndata: {\n\n"),
        ("/a/call", b"event: end\ndata: " + b"x" * (5 << 20) + b"\n\n"),
        ("/a/call", b"event: error\ndata: unknown task_id\n\n"),
        ("/a/call", {}),
    ],
)
def test_an_answer_in_no_known_form_loses_the_session(
    url: str, answers: dict[str, Any], path: str, answer: Any
) -> None:
    answers[path] = answer
    with open_backend(OrsEnvironment(url=url)) as backend:
        (session,) = backend.open_sessions([{"n": 1}])
        if isinstance(session, SessionLost):
            assert path != "/a/call"
            return
        with pytest.raises(SessionLost):
            session.call("add", {})
        with pytest.raises(SessionLost):
            session.score()


def test_texts_of_a_healthy_answer_are_made_harmless(url: str, answers: dict[str, Any]) -> None:
    answers["/a/prompt"] = [{"type": "text", "text": "a\0\ud800b"}]
    answers["/a/call"] = output(blocks=[{"type": "text", "text": "y" * 200_000}])
    with open_backend(OrsEnvironment(url=url)) as backend:
        (session,) = backend.open_sessions([{"n": 1}])
        assert not isinstance(session, SessionLost)
        assert session.prompt == "a\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}b"
        assert "[cut: 100000 more characters]" in session.call("add", {}).text
