"""Requests for chat completions: their fields, as far as they change a completion, and their checks."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError, from_json

from workers.contract.json_types import JsonObject
from workers.serve.errors import ApiError, invalid_field

UNSUPPORTED = ("functions", "function_call", "audio", "web_search_options")
NOT_SUPPORTED = "this server does not support it; leave it out"
NO_TOOLS = ("none", "auto")  # harmless values of function_call
TOOLS = 128


def _refuse(value: Any) -> None:
    """Raise an error for a field that would change the completion; an empty one counts as absent."""
    if value:
        raise PydanticCustomError("unsupported", NOT_SUPPORTED)


Unsupported = Annotated[None, BeforeValidator(_refuse)]


class _Part(BaseModel):
    type: Literal["text"]
    text: str


class _CalledFunction(BaseModel):
    name: str
    arguments: str


class _Call(BaseModel):
    id: str
    type: Literal["function"] = "function"
    function: _CalledFunction


class Message(BaseModel):
    """One message of the conversation."""

    function_call: Unsupported = None
    role: Literal["developer", "system", "user", "assistant", "tool"]
    content: (
        Annotated[
            list[_Part], BeforeValidator(lambda v: [{"type": "text", "text": v}] if isinstance(v, str) else v)
        ]
        | None
    ) = None
    tool_calls: list[_Call] | None = None
    tool_call_id: str | None = None

    @model_validator(mode="after")
    def _has_content(self) -> Self:
        if self.content is None and not (self.role == "assistant" and self.tool_calls):
            raise PydanticCustomError("missing", "a message has content, or tool calls of the assistant")
        return self

    def to_row(self) -> JsonObject:
        """Return the message in the form of datasets."""
        return self.model_dump(exclude_none=True)


class Function(BaseModel):
    """A function that the model may call; ``parameters`` is a JSON schema."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    description: str | None = None
    parameters: JsonObject | None = None
    strict: bool | None = None


class Tool(BaseModel):
    """A tool of a request."""

    type: Literal["function"]
    function: Function


class _FunctionName(BaseModel):
    name: str


class NamedTool(BaseModel):
    """The one function that the model has to call."""

    type: Literal["function"]
    function: _FunctionName


class _Schema(BaseModel):
    content: JsonObject = Field(alias="schema")


class Format(BaseModel):
    """Form of the answer."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: _Schema | None = None


class _StreamOptions(BaseModel):
    include_usage: bool = False


class ChatRequest(BaseModel):
    """Body of ``POST /v1/chat/completions``. Fields that do not change the completion are ignored."""

    model: str
    messages: list[Message] = Field(min_length=1)
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
    presence_penalty: float = Field(default=0.0, ge=-2, le=2)
    frequency_penalty: float = Field(default=0.0, ge=-2, le=2)
    logit_bias: dict[Annotated[int, Field(ge=0)], Annotated[float, Field(ge=-100, le=100)]] = {}
    logprobs: bool = False
    top_logprobs: int = Field(default=0, ge=0, le=20)
    tools: list[Tool] = Field(default=[], max_length=TOOLS)
    tool_choice: Literal["none", "auto", "required"] | NamedTool = "auto"
    response_format: Format = Format(type="text")
    stream: bool = False
    stream_options: _StreamOptions | None = None
    return_token_ids: bool = False

    def check(self, vocabulary: int) -> None:
        """Raise ``ApiError`` for fields that contradict each other, or tokens that do not exist."""
        if self.top_logprobs and not self.logprobs:
            raise invalid_field("top_logprobs", "it needs logprobs to be true.")
        if self.stream_options and not self.stream:
            raise invalid_field("stream_options", "it needs stream to be true.")
        if unknown := [token for token in self.logit_bias if token >= vocabulary]:
            raise invalid_field("logit_bias", f"the model has no token {unknown[0]}.")
        self._check_tools()

    def _check_tools(self) -> None:
        names = [tool.function.name for tool in self.tools]
        if len(set(names)) < len(names):
            raise invalid_field("tools", "two functions have the same name.")
        if self.tool_choice not in ("none", "auto") and not names:
            raise invalid_field("tool_choice", "it needs tools.")
        if isinstance(self.tool_choice, NamedTool) and self.tool_choice.function.name not in names:
            raise invalid_field("tool_choice", f"{self.tool_choice.function.name!r} is not among the tools.")
        if self.forced_tools and self.response_format.type != "text":
            raise invalid_field(
                "response_format", "a forced tool call has the form of its function; leave it out."
            )

    @property
    def offered_tools(self) -> list[Tool]:
        """The tools that the model may call."""
        return [] if self.tool_choice == "none" else self.tools

    @property
    def forced_tools(self) -> list[Tool]:
        """The tools of which the model has to call one; empty if it may do without."""
        if isinstance(self.tool_choice, NamedTool):
            return [tool for tool in self.tools if tool.function.name == self.tool_choice.function.name]
        return self.tools if self.tool_choice == "required" else []

    @property
    def includes_usage(self) -> bool:
        """True if a stream ends with the usage."""
        return self.stream_options is not None and self.stream_options.include_usage


def parse_request(body: bytes) -> ChatRequest:
    """Parse a body; null means absent. Raises ``ApiError`` or ``ValidationError``."""
    given = parse_object(body)
    for name in UNSUPPORTED:
        if given.get(name) and given[name] not in NO_TOOLS:
            raise invalid_field(name, f"{NOT_SUPPORTED}.")
    return ChatRequest.model_validate({name: value for name, value in given.items() if value is not None})


def parse_object(body: bytes) -> dict[str, Any]:
    """Parse a JSON object. Raises ``ApiError``."""
    try:
        given = from_json(body)
    except ValueError as error:
        raise ApiError(400, f"The body is not JSON: {error}.") from error
    if not isinstance(given, dict):
        raise ApiError(400, "The body is not a JSON object.")
    return given
