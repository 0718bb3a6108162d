"""Requests for chat completions: read them, and refuse what this server cannot do."""

from __future__ import annotations

from typing import Any

from pydantic_core import from_json

from workers.contract.chat_request import NOT_SUPPORTED, ChatRequest, Message, ToolChoice
from workers.contract.json_types import JsonObject
from workers.serve.errors import ApiError, invalid_field

ROW_FIELDS = {"role", "content", "tool_calls", "tool_call_id"}


def parse_request(body: bytes) -> ChatRequest:
    """Parse a body. Raises ``ApiError`` or ``ValidationError``."""
    return ChatRequest.model_validate(parse_object(body))


def parse_object(body: bytes) -> dict[str, Any]:
    """Parse a JSON object. Raises ``ApiError``."""
    try:
        given = from_json(body)
    except ValueError as error:
        raise ApiError(400, f"The body is not JSON: {error}.") from error
    if not isinstance(given, dict):
        raise ApiError(400, "The body is not a JSON object.")
    return given


def check_request(request: ChatRequest, vocabulary: int) -> None:
    """Raise ``ApiError`` for fields that contradict each other, or that this server does not support."""
    for number, message in enumerate(request.messages):
        _check_message(message, f"messages.{number}")
    if request.stream_options and not request.stream:
        raise invalid_field("stream_options", "it needs stream to be true.")
    if unknown := [token for token in request.logit_bias if token >= vocabulary]:
        raise invalid_field("logit_bias", f"the model has no token {unknown[0]}.")
    _check_tools(request)


def _check_message(message: Message, param: str) -> None:
    if message.content is None and not message.tool_calls:
        raise invalid_field(param, "a message has content, or tool calls of the assistant.")
    for number, part in enumerate(message.content or []):
        if not isinstance(part, str) and part.type != "text":
            raise invalid_field(f"{param}.content.{number}.type", f"{NOT_SUPPORTED}, or send text.")


def _check_tools(request: ChatRequest) -> None:
    names, choice = [tool.function.name for tool in request.tools], request.tool_choice
    if len(set(names)) < len(names):
        raise invalid_field("tools", "two functions have the same name.")
    if choice not in ("none", "auto") and not names:
        raise invalid_field("tool_choice", "it needs tools.")
    if isinstance(choice, ToolChoice) and choice.function.name not in names:
        raise invalid_field("tool_choice", f"{choice.function.name!r} is not among the tools.")
    if request.forced_tools and request.response_format.type != "text":
        raise invalid_field(
            "response_format", "a forced tool call has the form of its function; leave it out."
        )


def build_row_message(message: Message) -> JsonObject:
    """Return the message in the form of datasets."""
    row: JsonObject = message.model_dump(include=ROW_FIELDS, exclude_none=True)
    if isinstance(message.content, str):
        row["content"] = [{"type": "text", "text": message.content}]
    return row
