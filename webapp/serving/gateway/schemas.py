"""The body of ``POST /v1/chat/completions``. What it does not name is ignored; null means absent."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from webapp.core.api.metadata import Metadata
from workers.contract.json_types import JsonObject

# These fields concern the gateway; all others go to the model server.
OWN_FIELDS = {
    "model", "audio", "modalities", "web_search_options", "store", "metadata", "user", "safety_identifier",
    "service_tier", "stream_options",
}  # fmt: skip
FunctionName = Annotated[str, StringConstraints(pattern="^[A-Za-z0-9_-]{1,64}$")]


def _refuse(value: Any) -> None:
    if value:
        raise PydanticCustomError("unsupported", "this server does not support it; leave it out")


Unsupported = Annotated[Any, BeforeValidator(_refuse)]

StopTexts = Annotated[
    list[Annotated[str, StringConstraints(min_length=1)]],
    Field(max_length=4),
    BeforeValidator(
        lambda value: [value] if isinstance(value, str) else value, json_schema_input_type=str | list[str]
    ),
]


class TextPart(BaseModel):
    type: Literal["text"]
    text: str


class RefusalPart(BaseModel):
    type: Literal["refusal"]
    refusal: str


class ImageUrl(BaseModel):
    url: str
    detail: str | None = None


class ImagePart(BaseModel):
    type: Literal["image_url"]
    image_url: ImageUrl


class CalledFunction(BaseModel):
    name: str
    arguments: str


class ToolCall(BaseModel):
    id: str
    type: Literal["function"]
    function: CalledFunction


class Message(BaseModel):
    """A message of the conversation. Only an assistant's may be without content."""

    role: Literal["developer", "system", "user", "assistant", "tool", "function"]
    content: str | list[Annotated[TextPart | RefusalPart | ImagePart, Field(discriminator="type")]] | None = (
        None
    )
    name: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    function_call: CalledFunction | None = None

    @model_validator(mode="after")
    def _has_content(self) -> Self:
        if self.content is None and self.role != "assistant":
            raise PydanticCustomError("missing_content", "a message of this role needs content")
        return self


class Function(BaseModel):
    name: FunctionName
    description: str | None = None
    parameters: JsonObject | None = None
    strict: bool | None = None


class Tool(BaseModel):
    type: Literal["function"]
    function: Function


class FunctionChoice(BaseModel):
    name: FunctionName


class ToolChoice(BaseModel):
    type: Literal["function"]
    function: FunctionChoice


class JsonSchema(BaseModel):
    name: FunctionName
    description: str | None = None
    content: JsonObject | None = Field(None, alias="schema")
    strict: bool | None = None


class ResponseFormat(BaseModel):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class StreamOptions(BaseModel):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class CompletionRequest(BaseModel):
    """A request for a chat completion, as OpenAI's SDK sends it."""

    model: Annotated[str, StringConstraints(pattern=r"^[^\x00]+$", max_length=300)]
    messages: list[Message] = Field(min_length=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    n: int | None = Field(None, ge=1, le=128)
    max_completion_tokens: int | None = Field(None, ge=1)
    max_tokens: int | None = Field(None, ge=1)
    stop: StopTexts | None = None
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    tools: Annotated[list[Tool], Field(max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    return_token_ids: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    store: bool | None = None
    metadata: Metadata | None = None
    user: str | None = None
    safety_identifier: str | None = None
    service_tier: str | None = None
    audio: Unsupported = None
    modalities: list[Literal["text"]] | None = None
    web_search_options: Unsupported = None

    @model_validator(mode="after")
    def _has_logprobs(self) -> Self:
        if self.top_logprobs and not self.logprobs:
            raise PydanticCustomError("needs_logprobs", "top_logprobs needs logprobs: true")
        return self

    @property
    def wants_usage(self) -> bool:
        """True if the stream should end with the number of tokens."""
        return bool(self.stream_options and self.stream_options.include_usage)

    def build_payload(self, model: str) -> JsonObject:
        """Return the body for the model server, which knows the model as ``model``."""
        payload: JsonObject = self.model_dump(
            mode="json", by_alias=True, exclude=OWN_FIELDS, exclude_none=True
        )
        payload["model"] = model
        if self.store:
            payload["return_token_ids"] = True
        if self.stream:
            payload["stream_options"] = {"include_usage": True}
        return payload
