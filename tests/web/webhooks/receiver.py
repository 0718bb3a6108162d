"""A server that receives webhooks, and an SDK client without a network."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx2
from django.test import Client
from openai import OpenAI


@dataclass
class Receiver:
    """Answers every request with ``status`` and keeps it."""

    url: str = ""
    status: int = 200
    headers: list[dict[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)


@contextmanager
def receive() -> Iterator[Receiver]:
    """Run a receiver on the loopback address."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            receiver.headers.append({name.lower(): value for name, value in self.headers.items()})
            receiver.bodies.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(receiver.status)
            self.send_header("location", receiver.url)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    receiver.url = f"http://127.0.0.1:{server.server_address[1]}/hook"
    yield receiver
    server.shutdown()
    server.server_close()


def connect_sdk(secret: str) -> OpenAI:
    """Return the SDK's client, whose requests Django's test client answers."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        headers = {name: value for name, value in request.headers.items() if name != "content-type"}
        path = request.url.raw_path.decode()
        kind = request.headers.get("content-type", "")
        response = Client(headers=headers).generic(request.method, path, request.read(), kind)
        return httpx2.Response(response.status_code, headers=dict(response.headers), content=response.content)

    client = httpx2.Client(transport=httpx2.MockTransport(answer))
    return OpenAI(api_key=secret, base_url="http://testserver/v1", http_client=client, max_retries=0)
