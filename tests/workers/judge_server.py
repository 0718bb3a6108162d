"""A judge behind real HTTP with faults that the test chooses."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Json = dict[str, Any]
KEY = "sk-secret-of-the-test-0123456789"


@dataclass
class Answer:
    """The behaviour of the server for one request."""

    content: str = '{"steps": [], "result": 1}'
    status: int = 200
    delay: float = 0.0
    retry_after: str | None = None
    refusal: str | None = None
    cut: bool = False
    finish_reason: str = "stop"
    body: str | None = None


Behaviour = Callable[[Json, int], Answer]


@dataclass
class JudgeServer:
    """Use as a context manager. ``behave`` gets each request's body and its number, from 0."""

    behave: Behaviour = lambda body, number: Answer()
    requests: list[Json] = field(default_factory=list)
    authorizations: Counter[str] = field(default_factory=Counter)
    most_in_flight: int = 0

    def __enter__(self) -> JudgeServer:
        self._lock, self._in_flight = threading.Lock(), 0
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1

            def do_POST(self) -> None:
                owner.serve(self)

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._lock:
            self._in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self._in_flight)
        try:
            yield
        finally:
            with self._lock:
                self._in_flight -= 1

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["content-length"])))
        with self._counted():
            with self._lock:
                number = len(self.requests)
                self.requests.append(body)
                self.authorizations[handler.headers.get("authorization", "")] += 1
            answer = self.behave(body, number)
            time.sleep(answer.delay)
            self._send(handler, answer)

    def _send(self, handler: BaseHTTPRequestHandler, answer: Answer) -> None:
        sent = completion(answer) if answer.status == 200 else error(answer)
        reply = (answer.body or json.dumps(sent)).encode()
        handler.send_response(answer.status)
        handler.send_header("content-type", "application/json")
        handler.send_header("content-length", str(len(reply)))
        if answer.retry_after:
            handler.send_header("retry-after", answer.retry_after)
        handler.end_headers()
        if answer.cut:
            handler.wfile.write(reply[: len(reply) // 2])
            handler.close_connection = True
            handler.connection.close()
        else:
            handler.wfile.write(reply)


def completion(answer: Answer) -> Json:
    message = {"role": "assistant", "content": answer.content, "refusal": answer.refusal}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "judge",
        "choices": [
            {"index": 0, "finish_reason": answer.finish_reason, "logprobs": None, "message": message}
        ],
        "usage": {
            "prompt_tokens": 100,
            "completion_tokens": 20,
            "total_tokens": 120,
            "prompt_tokens_details": {"cached_tokens": 40},
        },
    }


def error(answer: Answer) -> Json:
    message = f"refused with key {KEY}: {answer.content}"
    return {"error": {"message": message, "type": "server_error", "param": None, "code": None}}
