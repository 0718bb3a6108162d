"""A model server that answers as a test tells it, for answers that a real one does not give on demand."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from django.utils import timezone

from webapp.registry.models import BaseModel
from webapp.serving.models import ModelServer, ServedAdapter

TOKEN = "token of the model server"
USAGE = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}


@dataclass
class Scripted:
    """What the server answers: a JSON body, or the events of a stream, after which it hangs up."""

    status: int = 200
    body: dict[str, Any] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)


def completion(sha256: str = "") -> dict[str, Any]:
    message = {"role": "assistant", "content": "Hi", "refusal": None}
    choice = {"index": 0, "finish_reason": "stop", "logprobs": None, "message": message, "token_ids": [5]}
    return {
        "id": "theirs", "object": "chat.completion", "created": 1, "model": "theirs", "choices": [choice],
        "adapter_sha256": sha256, "prompt_token_ids": [1, 2], "usage": USAGE,
    }  # fmt: skip


def chunk(content: str, sha256: str = "", **more: Any) -> str:
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": None}
    body = {"id": "theirs", "object": "chat.completion.chunk", "created": 1, "model": "theirs"}
    return "data: " + json.dumps(body | {"choices": [choice], "adapter_sha256": sha256, "usage": None} | more)


def last_chunk() -> str:
    """The chunk with the usage."""
    return chunk("", choices=[], usage=USAGE)


@contextmanager
def serve_script(script: Scripted, token: str) -> Iterator[str]:
    """Serve the script to callers with the token. Yields the URL up to ``/v1``."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """List no models: it answers."""
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"data": []}')

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            assert self.headers["authorization"] == f"Bearer {token}"
            script.asked.append(json.loads(body))
            kind = "text/event-stream" if script.events else "application/json"
            self.send_response(script.status)
            self.send_header("content-type", kind)
            self.end_headers()
            for event in script.events:
                self.wfile.write(event.encode() + b"\n\n")
            if not script.events:
                self.wfile.write(json.dumps(script.body).encode())

        def log_message(self, *arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()


@contextmanager
def run_server(base: BaseModel, *adapters: str) -> Iterator[Scripted]:
    """Serve the base, with these adapters loaded, as the row of a ready server says."""
    script = Scripted(body=completion())
    with serve_script(script, TOKEN) as url:
        row = ModelServer.objects.create(
            base_model=base, state=ModelServer.State.RUNNING, attempt=1, token=TOKEN,
            url=url, lease_until=timezone.now() + timedelta(hours=1),
        )  # fmt: skip
        for sha256 in adapters:
            ServedAdapter.objects.create(server=row, sha256=sha256, loaded_attempt=1)
        yield script
