"""Answers of connected endpoints, through the outbound client. Their keys never leave this server."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx2
from asgiref.sync import sync_to_async
from pydantic import BaseModel, Field, ValidationError
from pydantic_core import PydanticSerializationError, to_json

from webapp.core.api.errors import ApiError
from webapp.core.fields import create_public_id
from webapp.endpoints.models import Endpoint
from webapp.endpoints.services import KeyUnreadable, read_key
from webapp.serving.gateway.answers import DATA, DONE, END
from webapp.serving.gateway.callers import Caller
from webapp.serving.gateway.limits import hold_place
from webapp.serving.gateway.schemas import CompletionRequest
from webapp.teams.models import Team
from workers.outbound import Caps, OutboundTransport, check_url, describe_status, explain

MOST_BYTES = 16 * 2**20  # of a whole stream
STREAM = "text/event-stream"
FAULT = 424  # failed dependency: the fault is neither of this server nor of the page
NOT_STREAMED = "{} did not stream its answer. Connect a server that supports “stream”."
NO_CHUNK = "{} sent something that is no chunk of a chat completion."
BROKEN = "{} ended its answer early. Run the prompt again."
FAILED = "{} reported an error while it answered. Run the prompt again, or look at its log."


class CalledFunction(BaseModel):
    name: str | None = None
    arguments: str | None = None


class CallPart(BaseModel):
    index: int = 0
    id: str | None = None
    function: CalledFunction = CalledFunction()


class Delta(BaseModel):
    role: Literal["assistant"] | None = None
    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[CallPart] | None = None


class Alternative(BaseModel):
    token: str
    logprob: float


class Token(Alternative):
    top_logprobs: list[Alternative] = []


class Tokens(BaseModel):
    content: list[Token] | None = None


class Choice(BaseModel):
    index: int = 0
    delta: Delta = Delta()
    finish_reason: str | None = None
    logprobs: Tokens | None = None


class TokenCount(BaseModel):
    prompt_tokens: int
    completion_tokens: int


class Chunk(BaseModel):
    """What the page needs of a chunk; the rest of what a server sends is dropped."""

    choices: list[Choice] = Field(max_length=128)
    usage: TokenCount | None = None


class ReportedError(BaseModel):
    error: Any


def list_connected(team: Team) -> list[Endpoint]:
    """Return the team's endpoints with a URL. Base models on our own workers are models of the gateway."""
    return list(Endpoint.objects.alive().filter(team=team, base_model=None))


@dataclass
class ConnectedAnswer:
    """A prompt to an endpoint, and the stream that answers it."""

    caller: Caller
    request: CompletionRequest
    endpoint: Endpoint
    uid: str = field(default_factory=lambda: create_public_id("chatcmpl-"))
    created: int = field(default_factory=lambda: int(time.time()))

    async def stream(self) -> AsyncGenerator[bytes]:
        """Yield the events of the answer. Raises ApiError, in words of our own."""
        with hold_place(self.caller.name):
            try:
                async with self._opened() as response:
                    async for line in response.aiter_lines():
                        data = line.removeprefix("data:").strip()
                        if data == DONE.decode():
                            yield DATA + DONE + END
                            return
                        if data and data != line.strip():
                            yield self._rewrite(data)
            except httpx2.TransportError as error:
                raise self._unreachable(error) from error
        raise ApiError(BROKEN.format(self.endpoint), status=FAULT)

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[httpx2.Response]:
        """Open the endpoint's stream. Raises ApiError and errors of the transport."""
        headers = {"Content-Type": "application/json", "Accept": STREAM}
        if key := await self._read_key():
            headers["Authorization"] = f"Bearer {key}"
        content, url = self._build_content(), f"{self.endpoint.base_url}/chat/completions"
        check_url(url)
        caps = Caps(MOST_BYTES, self.endpoint.timeout_seconds)
        async with (
            httpx2.AsyncClient(
                transport=OutboundTransport(caps), trust_env=False, timeout=caps.seconds
            ) as client,
            client.stream("POST", url, content=content, headers=headers) as response,
        ):
            if response.status_code != 200:
                raise ApiError(describe_status(str(self.endpoint), response.status_code), status=FAULT)
            if not response.headers.get("content-type", "").startswith(STREAM):
                raise ApiError(NOT_STREAMED.format(self.endpoint), status=FAULT)
            yield response

    async def _read_key(self) -> str:
        try:
            return await sync_to_async(read_key)(self.endpoint)
        except KeyUnreadable as error:
            raise ApiError(str(error), status=FAULT) from error

    def _build_content(self) -> bytes:
        """Return the body, without what concerns Groove only."""
        asked = self.request.model_copy(update={"store": None, "return_token_ids": None, "stream": True})
        try:
            return to_json(asked.build_payload(self.endpoint.model or self.endpoint.name))
        except PydanticSerializationError as error:
            raise ApiError("The prompt contains half a character (a lone surrogate).") from error

    def _rewrite(self, data: str) -> bytes:
        """Return a chunk as the page gets it. Raises ApiError."""
        try:
            chunk = Chunk.model_validate_json(data)
        except ValidationError as error:
            raise ApiError(self._describe(data), status=FAULT) from error
        ours = {"id": self.uid, "object": "chat.completion.chunk", "created": self.created}
        body = ours | {"model": self.endpoint.name} | chunk.model_dump()
        return DATA + to_json(body) + END

    def _describe(self, data: str) -> str:
        try:
            ReportedError.model_validate_json(data)
        except ValidationError:
            return NO_CHUNK.format(self.endpoint)
        return FAILED.format(self.endpoint)

    def _unreachable(self, error: Exception) -> ApiError:
        text = f"{self.endpoint} cannot be reached at {self.endpoint.base_url}: {explain(error)}."
        return ApiError(text, status=FAULT)
