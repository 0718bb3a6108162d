"""Check the messages and tools of a row, and convert them for chat templates."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from webapp.datasets.content import problems
from webapp.datasets.content.limits import MAX_MESSAGES
from webapp.datasets.content.row_types import Message, Tool, ToolCall
from webapp.datasets.content.strict_json import parse_json

if TYPE_CHECKING:
    from workers.contract.json_types import JsonObject

ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})
TOOL_PARTS = ("name", "description", "parameters", "strict")

# --- messages --------------------------------------------------------------------------------------


def parse_messages(value: object) -> list[object] | None:
    """Return the messages in a list or JSON text; None for a plain text."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = parse_json(value)
        except ValueError:
            return None
    if not isinstance(value, list) or not value:
        return None
    return value if all(isinstance(each, dict) and "role" in each for each in value) else None


def read_conversation(value: object) -> list[Message]:
    """Check the messages of a row; the last one must be the user's. Raises RowError."""
    if value is None:
        raise problems.no_messages()
    value = parse_messages(value) or value
    if not isinstance(value, list):
        raise problems.bad_messages("is not a list")
    if not value:
        raise problems.bad_messages("is empty")
    if len(value) > MAX_MESSAGES:
        raise problems.too_many_messages()
    messages = [_read_message(number, message) for number, message in enumerate(value, start=1)]
    if messages[-1]["role"] != "user":
        raise problems.last_not_user(len(messages), messages[-1]["role"])
    if not messages[-1]["content"].strip():
        raise problems.empty_prompt()
    return messages


def _read_message(number: int, value: object) -> Message:
    """Check a message. Drop nulls: table writers give every message the keys of all others."""
    if not isinstance(value, dict):
        raise problems.bad_message(number, "is not an object")
    role = value.get("role")
    if not isinstance(role, str) or role not in ROLES:
        raise problems.bad_role(number, role)
    message = {key: part for key, part in value.items() if part is not None}
    if calls := message.pop("tool_calls", None):
        message["tool_calls"] = _read_tool_calls(number, calls)
    if role != "assistant" or "content" in message or not calls:
        message["content"] = _read_content(number, value.get("content"))
    return cast("Message", message)


def _read_content(number: int, value: object) -> str:
    """Return the text, or joined text parts. Refuse other parts, such as images and audio."""
    if isinstance(value, str):
        return value
    if value is None:
        raise problems.bad_message(number, "has no content")
    if not isinstance(value, list):
        raise problems.bad_message(number, "has a content that is not text")
    if not all(isinstance(part, dict) and isinstance(part.get("text"), str) for part in value):
        raise problems.bad_message(number, "has a part that is not text")
    return "".join(part["text"] for part in value)


# --- tools -----------------------------------------------------------------------------------------


def _read_tool_calls(number: int, value: object) -> list[ToolCall]:
    """Return the calls with their arguments as objects; OpenAI writes them as JSON text."""
    if not isinstance(value, list):
        raise problems.bad_message(number, "has tool_calls that are not a list")
    return [_read_tool_call(number, call) for call in value]


def _read_tool_call(number: int, value: object) -> ToolCall:
    function = value.get("function") if isinstance(value, dict) else None
    if (
        not isinstance(value, dict)
        or not isinstance(function, dict)
        or not isinstance(function.get("name"), str)
    ):
        raise problems.bad_message(number, "has a tool call without the name of a function")
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        arguments = _parse_arguments(arguments)
    if arguments is not None and not isinstance(arguments, dict):
        raise problems.bad_message(number, "has a tool call whose arguments are no JSON object")
    call = {key: part for key, part in value.items() if part is not None}
    call["function"] = {"name": function["name"], "arguments": arguments or {}}
    return cast("ToolCall", call)


def _parse_arguments(text: str) -> object:
    try:
        return parse_json(text) if text.strip() else None
    except ValueError:
        return text


def read_tools(value: object) -> list[Tool]:
    """Return the function tools of a row in OpenAI's shape; empty if it has none.

    Raises RowError.
    """
    if isinstance(value, str) and value.strip():
        try:
            value = parse_json(value)
        except ValueError as error:
            raise problems.bad_tools("is a text that is not JSON") from error
    if not value:
        return []
    if not isinstance(value, list):
        raise problems.bad_tools("is not a list")
    return [_read_tool(number, tool) for number, tool in enumerate(value, start=1)]


def _read_tool(number: int, value: object) -> Tool:
    """Accept a nested ``function``, and the flat shape of some datasets and the Responses API."""
    if not isinstance(value, dict):
        raise problems.bad_tools(f"has at position {number} no object")
    if value.get("type") not in (None, "function"):
        raise problems.bad_tools(f"has at position {number} the type {str(value['type'])[:40]!r}")
    function = value.get("function") or {key: value[key] for key in TOOL_PARTS if key in value}
    if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"]:
        raise problems.bad_tools(f"has at position {number} a tool without the name of a function")
    if not isinstance(function.get("parameters") or {}, dict):
        raise problems.bad_tools(f"has parameters of {function['name'][:40]!r} that are no object")
    kept: JsonObject = {key: part for key, part in function.items() if part is not None}
    return {"type": "function", "function": kept}
