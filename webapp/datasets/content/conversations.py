"""Messages and tools of a row, checked and brought to the shape that chat templates take."""

from __future__ import annotations

from typing import Any

from webapp.datasets.content import problems
from webapp.datasets.content.limits import MAX_MESSAGES
from webapp.datasets.content.strict_json import parse_json

ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})
TOOL_PARTS = ("name", "description", "parameters", "strict")
Json = dict[str, Any]

# --- messages --------------------------------------------------------------------------------------


def parse_messages(value: Any) -> list[Json] | None:
    """The messages that a prompt consists of, as a list or as JSON text. None for a plain text."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = parse_json(value)
        except ValueError:
            return None
    is_list = isinstance(value, list) and bool(value)
    return value if is_list and all(isinstance(each, dict) and "role" in each for each in value) else None


def read_conversation(value: Any) -> list[Json]:
    """The messages of a row, the last one the user's. Raises RowError."""
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
        raise problems.last_not_user(messages[-1]["role"])
    if not messages[-1]["content"].strip():
        raise problems.empty_prompt()
    return messages


def _read_message(number: int, value: Any) -> Json:
    """The message without the nulls that table writers add for keys that other messages have."""
    if not isinstance(value, dict):
        raise problems.bad_message(number, "is not an object")
    role = value.get("role")
    if not isinstance(role, str) or role not in ROLES:
        raise problems.bad_role(number, role)
    message = {key: part for key, part in value.items() if part is not None}
    if calls := message.pop("tool_calls", None):
        message["tool_calls"] = _read_tool_calls(number, calls)
    if role == "assistant" and "content" not in message and calls:
        return message
    return message | {"content": _read_content(number, value.get("content"))}


def _read_content(number: int, value: Any) -> str:
    """Text as it is; a list of text parts joined. Other parts (images, audio) are refused."""
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


def _read_tool_calls(number: int, value: Any) -> list[Json]:
    """The calls of a message with their arguments as objects, which OpenAI writes as JSON text."""
    if not isinstance(value, list):
        raise problems.bad_message(number, "has tool_calls that are not a list")
    return [_read_tool_call(number, call) for call in value]


def _read_tool_call(number: int, value: Any) -> Json:
    function = value.get("function") if isinstance(value, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise problems.bad_message(number, "has a tool call without the name of a function")
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        arguments = _parse_arguments(arguments)
    if arguments is not None and not isinstance(arguments, dict):
        raise problems.bad_message(number, "has a tool call whose arguments are no JSON object")
    call = {key: part for key, part in value.items() if part is not None}
    return call | {"function": {"name": function["name"], "arguments": arguments or {}}}


def _parse_arguments(text: str) -> Any:
    try:
        return parse_json(text) if text.strip() else None
    except ValueError:
        return text


def read_tools(value: Any) -> list[Json]:
    """The function tools of a row as OpenAI writes them; empty if it has none. Raises RowError."""
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


def _read_tool(number: int, value: Any) -> Json:
    """A tool with its function inside, or written flat as some datasets and the Responses API do."""
    if not isinstance(value, dict):
        raise problems.bad_tools(f"has at position {number} no object")
    if value.get("type") not in (None, "function"):
        raise problems.bad_tools(f"has at position {number} the type {str(value['type'])[:40]!r}")
    function = value.get("function") or {key: value[key] for key in TOOL_PARTS if key in value}
    if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"]:
        raise problems.bad_tools(f"has at position {number} a tool without the name of a function")
    if not isinstance(function.get("parameters") or {}, dict):
        raise problems.bad_tools(f"has parameters of {function['name'][:40]!r} that are no object")
    return {"type": "function", "function": {key: part for key, part in function.items() if part is not None}}
