"""What model servers answer, as callers get it: our id, the name that was asked for, no internals."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import from_json, to_json

from webapp.core.api.errors import ApiError, Envelope
from webapp.core.fields import create_public_id
from webapp.serving.gateway.transcripts import Transcript
from webapp.serving.routing import Route

log = logging.getLogger(__name__)
DATA, END = b"data: ", b"\n\n"
DONE = b"[DONE]"
TOKEN_FIELDS = ("token_ids", "logp_sampled", "logp_model")
RETRY_SECONDS = 1
LOST = "The model server stopped before the answer was complete. Send the request again."


class WrongAdapter(ApiError):
    """Another adapter answered than the one that was asked for."""

    def __init__(self) -> None:
        super().__init__(
            "Another version of the model answered. The answer was dropped; send the request again.",
            status=503,
            retry_after=RETRY_SECONDS,
        )


@dataclass
class Answer:
    """Turns bodies and chunks of a model server into ours, and counts tokens."""

    route: Route
    keep_ids: bool  # the caller asked for token ids
    keep_usage: bool  # the caller asked for a stream's usage
    uid: str = field(default_factory=lambda: create_public_id("chatcmpl-"))
    prompt_tokens: int = 0
    completion_tokens: int = 0
    reported: str | None = None  # SHA-256 of the adapter that answered
    transcript: Transcript | None = None  # of a completion that is stored

    def rewrite(self, body: dict[str, Any]) -> bytes:
        """Return a complete answer. Raises WrongAdapter."""
        self._note(body)
        self.check()
        return to_json(body)

    def rewrite_chunk(self, event: bytes) -> bytes:
        """Return an event of a stream as the caller gets it; empty for one that only we asked for.

        Raises WrongAdapter.
        """
        text = event.removeprefix(DATA)
        if text in (DONE, event):  # the end, or a comment that keeps the connection open
            return event + END
        body = from_json(text)
        if "error" in body:
            raise ApiError(body["error"].get("message") or LOST, status=503)
        self._note(body)
        self.check()
        if not body["choices"]:
            return DATA + to_json(body) + END if self.keep_usage else b""
        if not self.keep_usage:
            body.pop("usage", None)
        return DATA + to_json(body) + END

    def check(self) -> None:
        """Raise WrongAdapter unless the answer is by the adapter of the route."""
        if (self.reported or "") != self.route.sha256:
            log.error("%s was asked for, and %r answered", self.route.version, self.reported)
            raise WrongAdapter

    def _note(self, body: dict[str, Any]) -> None:
        """Count tokens, remember the adapter, and put our names for the server's."""
        self.reported = body.pop("adapter_sha256", self.reported)
        if self.transcript:
            self.transcript.add(body)
        if usage := body.get("usage"):
            self.prompt_tokens, self.completion_tokens = usage["prompt_tokens"], usage["completion_tokens"]
        else:
            self.completion_tokens += len(body["choices"])  # until the usage comes: about a token each
        if not self.keep_ids:
            body.pop("prompt_token_ids", None)
            for choice in body["choices"]:
                for name in TOKEN_FIELDS:
                    choice.pop(name, None)
        body |= {"id": self.uid, "model": self.route.name, "system_fingerprint": self.route.fingerprint}


def split_events(buffer: bytearray) -> Iterator[bytes]:
    """Yield the complete events of a stream and remove them from the buffer."""
    while (end := buffer.find(END)) >= 0:
        yield bytes(buffer[:end])
        del buffer[: end + len(END)]


def format_error(envelope: Envelope) -> bytes:
    """Return an error as the last event of a stream."""
    return DATA + to_json(envelope) + END
