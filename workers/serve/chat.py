"""Chat completions: checks requests, turns them into rows, and rows into responses."""

from __future__ import annotations

import random
import secrets
import time
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError, from_json

from workers.contract.json_types import JsonObject, JsonValue
from workers.engine.base_model.models import Base
from workers.engine.prompts.rendering import RenderingError
from workers.serve.constrained_decoding import SchemaCompiler, SchemaConstraint
from workers.serve.errors import ApiError, invalid_field
from workers.serve.generate import Row

UNSUPPORTED = (
    "stream", "tools", "tool_choice", "functions", "function_call", "logprobs", "presence_penalty",
    "frequency_penalty", "logit_bias", "audio", "web_search_options",
)  # fmt: skip
NOT_SUPPORTED = "this server does not support it; leave it out"
NO_TOOLS = ("none", "auto")  # harmless values of tool_choice and function_call

DEFAULT_TOKENS = 512  # of a completion without a limit in its request, if the context allows it


def _refuse(value: Any) -> None:
    """Raise an error for a field that would change the completion; an empty one counts as absent."""
    if value:
        raise PydanticCustomError("unsupported", NOT_SUPPORTED)


Unsupported = Annotated[None, BeforeValidator(_refuse)]


class _Part(BaseModel):
    type: Literal["text"]
    text: str


class _Message(BaseModel):
    tool_calls: Unsupported = None
    function_call: Unsupported = None
    role: Literal["developer", "system", "user", "assistant"]
    content: Annotated[
        list[_Part], BeforeValidator(lambda v: [{"type": "text", "text": v}] if isinstance(v, str) else v)
    ]

    def to_row(self) -> JsonObject:
        """Return the message in the form of datasets."""
        return {"role": self.role, "content": [part.model_dump() for part in self.content]}


class _Schema(BaseModel):
    content: JsonObject = Field(alias="schema")


class _Format(BaseModel):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: _Schema | None = None


class ChatRequest(BaseModel):
    """Body of ``POST /v1/chat/completions``. Fields that do not change the completion are ignored."""

    model: str
    messages: list[_Message] = Field(min_length=1)
    temperature: float = Field(default=1.0, ge=0, le=2)
    top_p: float = Field(default=1.0, ge=0, le=1)
    n: int = Field(default=1, ge=1, le=128)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    stop: Annotated[
        list[Annotated[str, StringConstraints(min_length=1)]],
        Field(max_length=4),
        BeforeValidator(lambda v: [v] if isinstance(v, str) else v),
    ] = []
    seed: int | None = None
    response_format: _Format = _Format(type="text")


def parse_request(body: bytes) -> ChatRequest:
    """Parse a body; null means absent. Raises ``ApiError`` or ``ValidationError``."""
    try:
        given = from_json(body)
    except ValueError as error:
        raise ApiError(400, f"The body is not JSON: {error}.") from error
    if not isinstance(given, dict):
        raise ApiError(400, "The body is not a JSON object.")
    for name in UNSUPPORTED:
        if given.get(name) and given[name] not in NO_TOOLS:
            raise invalid_field(name, f"{NOT_SUPPORTED}.")
    return ChatRequest.model_validate({name: value for name, value in given.items() if value is not None})


class Chat:
    """Builds rows and responses of one model."""

    def __init__(self, base: Base, name: str) -> None:
        self.base, self.name = base, name
        config = base.model.config.get_text_config()
        self._context = int(getattr(config, "max_position_embeddings", base.tokenizer.model_max_length))
        self._schemas = SchemaCompiler(base)

    def build_rows(self, request: ChatRequest) -> list[Row]:
        """Return one row per choice. Raises ``ApiError``."""
        prompt = self._encode_prompt(request)
        limit = request.max_completion_tokens or request.max_tokens or DEFAULT_TOKENS
        constraint = self._build_constraint(request.response_format)
        seed = secrets.randbits(64) if request.seed is None else request.seed
        return [
            Row(
                prompt=prompt,
                limit=min(limit, self._context - len(prompt)),
                temperature=request.temperature,
                top_p=request.top_p,
                stop=request.stop,
                random=random.Random(f"{seed}/{choice}"),  # noqa: S311 - not a secret
                constraint=constraint.copy() if constraint else None,
            )
            for choice in range(request.n)
        ]

    def _encode_prompt(self, request: ChatRequest) -> list[int]:
        try:
            prompt = self.base.renderer.encode([message.to_row() for message in request.messages])
        except RenderingError as error:
            raise invalid_field("messages", f"the chat template cannot render them: {error}") from error
        if len(prompt) >= self._context:
            reason = (
                f"they have {len(prompt)} tokens; this model's context is {self._context}, completion "
                "included. Shorten them."
            )
            raise invalid_field("messages", reason, "context_length_exceeded")
        return prompt

    def _build_constraint(self, response_format: _Format) -> SchemaConstraint | None:
        """Return the constraint of a response format; ``None`` for text. Raises ``ApiError``."""
        if response_format.type == "text":
            return None
        if response_format.type == "json_object":
            return self._schemas.compile({"type": "object"})
        if response_format.json_schema is None:
            raise invalid_field("response_format.json_schema", "it is missing.", "missing_required_parameter")
        return self._schemas.compile(response_format.json_schema.content)

    def build_response(self, rows: list[Row]) -> JsonObject:
        """Return the response, once all rows are finished."""
        prompt, generated = len(rows[0].prompt), sum(len(row.ids) for row in rows)
        return {
            "id": f"chatcmpl-{secrets.token_hex(12)}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": self.name,
            "system_fingerprint": None,
            "choices": [self._choice(index, row) for index, row in enumerate(rows)],
            "usage": {
                "prompt_tokens": prompt,
                "completion_tokens": generated,
                "total_tokens": prompt + generated,
                "prompt_tokens_details": {"cached_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 0},
            },
        }

    def _choice(self, index: int, row: Row) -> JsonValue:
        text, thoughts = row.text(self.base), ""
        if row.constraint is None:
            split = self.base.renderer.split(self.base.renderer.decode_tail(row.prompt), text)
            text, thoughts = str(split), split.reasoning
        message: JsonObject = {"role": "assistant", "content": text, "refusal": None}
        if thoughts:
            message["reasoning_content"] = thoughts
        return {"index": index, "finish_reason": row.finish, "logprobs": None, "message": message}
