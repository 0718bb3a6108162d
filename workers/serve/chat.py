"""Chat completions: the request checked, turned into rows, and the rows turned into the answer."""

from __future__ import annotations

import random
import secrets
import time
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError, from_json

from workers.engine.base_model.models import Base
from workers.engine.prompts.rendering import RenderingError
from workers.serve.constrained_decoding import Form, Forms
from workers.serve.errors import ApiError, invalid
from workers.serve.generate import Row

Json = dict[str, Any]
UNSUPPORTED = (
    "stream", "tools", "tool_choice", "functions", "function_call", "logprobs", "presence_penalty",
    "frequency_penalty", "logit_bias", "audio", "web_search_options",
)  # fmt: skip
NOT_SUPPORTED = "this server does not support it; leave it out"
NO_TOOLS = ("none", "auto")  # of tool_choice and function_call, without tools to choose from

DEFAULT_TOKENS = 512  # of an answer whose request names no limit, where the context leaves that much


def _refuse(value: Any) -> None:
    """Raise an error for a field that would change the completion; an empty one is as good as absent."""
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

    def plain(self) -> Json:
        """The message as a dataset holds it."""
        return {"role": self.role, "content": [part.model_dump() for part in self.content]}


class _Schema(BaseModel):
    form: Json = Field(alias="schema")


class _Format(BaseModel):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: _Schema | None = None


class ChatRequest(BaseModel):
    """The body of ``POST /v1/chat/completions``; hints that change no answer are ignored."""

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


def parse(body: bytes) -> ChatRequest:
    """The request in a body; null means absent. Raises ``ApiError`` or ``ValidationError``."""
    try:
        given = from_json(body)
    except ValueError as error:
        raise ApiError(400, f"The body is not JSON: {error}.") from error
    if not isinstance(given, dict):
        raise ApiError(400, "The body is not a JSON object.")
    for name in UNSUPPORTED:
        if given.get(name) and given[name] not in NO_TOOLS:
            raise invalid(name, f"{NOT_SUPPORTED}.")
    return ChatRequest.model_validate({name: value for name, value in given.items() if value is not None})


class Chat:
    """What the API needs of a model: prompts, grammars, texts."""

    def __init__(self, base: Base, name: str) -> None:
        self.base, self.name = base, name
        config = base.model.config.get_text_config()
        self._context = int(getattr(config, "max_position_embeddings", base.tokenizer.model_max_length))
        self._forms = Forms(base)

    def rows(self, request: ChatRequest) -> list[Row]:
        """A row a choice. Raises ``ApiError``."""
        prompt = self._prompt(request)
        wanted = request.max_completion_tokens or request.max_tokens or DEFAULT_TOKENS
        form = self._form(request.response_format)
        seed = secrets.randbits(64) if request.seed is None else request.seed
        return [
            Row(
                prompt=prompt,
                limit=min(wanted, self._context - len(prompt)),
                temperature=request.temperature,
                top_p=request.top_p,
                stop=request.stop,
                random=random.Random(f"{seed}/{choice}"),  # noqa: S311 - not a secret
                form=form.copy() if form else None,
            )
            for choice in range(request.n)
        ]

    def _prompt(self, request: ChatRequest) -> list[int]:
        try:
            prompt = self.base.renderer.encode([message.plain() for message in request.messages])
        except RenderingError as error:
            raise invalid("messages", f"the model's chat template cannot render them: {error}") from error
        if len(prompt) >= self._context:
            said = (
                f"they have {len(prompt)} tokens; this model's context is {self._context}, answer included."
            )
            raise invalid("messages", f"{said} Shorten them.", "context_length_exceeded")
        return prompt

    def _form(self, wanted: _Format) -> Form | None:
        """What the answer must satisfy, if anything. Raises ``ApiError``."""
        if wanted.type == "text":
            return None
        if wanted.type == "json_object":
            return self._forms.of({"type": "object"})
        if wanted.json_schema is None:
            raise invalid("response_format.json_schema", "it is missing.", "missing_required_parameter")
        return self._forms.of(wanted.json_schema.form)

    def completion(self, rows: list[Row]) -> Json:
        """The answer, once all rows are finished."""
        prompt, written = len(rows[0].prompt), sum(len(row.ids) for row in rows)
        return {
            "id": f"chatcmpl-{secrets.token_hex(12)}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": self.name,
            "system_fingerprint": None,
            "choices": [self._choice(index, row) for index, row in enumerate(rows)],
            "usage": {
                "prompt_tokens": prompt,
                "completion_tokens": written,
                "total_tokens": prompt + written,
                "prompt_tokens_details": {"cached_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 0},
            },
        }

    def _choice(self, index: int, row: Row) -> Json:
        text, thoughts = row.text(self.base), ""
        if row.form is None:
            split = self.base.renderer.split(self.base.renderer.tail(row.prompt), text)
            text, thoughts = str(split), split.reasoning
        message = {"role": "assistant", "content": text, "refusal": None}
        if thoughts:
            message["reasoning_content"] = thoughts
        return {"index": index, "finish_reason": row.finish, "logprobs": None, "message": message}
