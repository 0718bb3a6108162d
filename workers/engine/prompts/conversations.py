"""Conversations in the one form that chat templates expect, and the rewrites that some templates need.

Datasets have messages in the forms of OpenAI's API, Parquet writers and other trainers: nulls for absent
fields, typed parts, tool arguments as JSON text or as objects, tools flat or nested. ``tidy_messages``
converts them to one form.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Message = dict[str, Any]
PARAGRAPH = "\n\n"  # between a system message and the user message that it moves into


@dataclass(frozen=True)
class Rewrite:
    """Changes to a conversation before a template is applied.

    ``fold`` selects the system messages that move into the next user message. ``arguments`` is the form of
    tool calls' arguments. With ``empty_content`` a message of tool calls alone gets an empty content.
    """

    fold: Literal["none", "later", "all"] = "none"
    arguments: Literal["object", "text"] = "object"
    empty_content: bool = False


def remove_nulls(value: Any) -> Any:
    """Remove null fields at every depth: in Parquet each row has the fields of all rows."""
    if isinstance(value, Mapping):
        return {key: remove_nulls(part) for key, part in value.items() if part is not None}
    if isinstance(value, list):
        return [remove_nulls(part) for part in value]
    return value


def tidy_messages(messages: Sequence[Mapping[str, Any]]) -> list[Message]:
    """Return messages without nulls, with contents as text and tool calls as ``{"type", "function"}``."""
    tidied: list[Message] = []
    names: dict[str, str] = {}
    for message in messages:
        tidy = remove_nulls(message)
        if "content" in tidy:
            tidy["content"] = content_text(tidy["content"])
        calls = [_tidy_call(call) for call in tidy.pop("tool_calls", None) or []]
        if calls:
            tidy["tool_calls"] = calls
            names |= {str(call["id"]): call["function"]["name"] for call in calls if "id" in call}
        elif tidy.get("role") == "tool" and "name" not in tidy:
            name = names.get(str(tidy.get("tool_call_id")))
            tidy |= {"name": name} if name else {}
        tidied.append(tidy)
    return tidied


def content_text(content: Any) -> str:
    """Return the text of a content: itself, or its text parts joined."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(part if isinstance(part, str) else str(part.get("text", "")) for part in content)
    return json.dumps(content, ensure_ascii=False)


def _tidy_call(call: Mapping[str, Any]) -> Message:
    function = dict(call.get("function") or {key: call[key] for key in ("name", "arguments") if key in call})
    function["arguments"] = _parse_object(function.get("arguments", {}))
    rest = {key: value for key, value in call.items() if key not in ("function", "name", "arguments")}
    return rest | {"type": "function", "function": function}


def _parse_object(arguments: Any) -> Any:
    """Return the object that a text contains as JSON; other values as they are."""
    if not isinstance(arguments, str):
        return arguments
    try:
        value = json.loads(arguments)
    except ValueError:
        return arguments
    return value if isinstance(value, dict) else arguments


def tidy_tools(tools: Sequence[Mapping[str, Any]]) -> list[Message]:
    """Return tools without nulls, nested as ``{"type": "function", "function": {...}}``."""
    tidied = []
    for tool in map(remove_nulls, tools):
        if "function" not in tool and "name" in tool:
            tool = {"type": "function", "function": {k: v for k, v in tool.items() if k != "type"}}
        tidied.append({"type": "function"} | tool)
    return tidied


def tool_names(tools: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the name of each of ``tidy_tools``; those without a name are left out."""
    return [str(tool["function"]["name"]) for tool in tools if "name" in tool.get("function", {})]


def is_prefill(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Return True if the last message begins a completion, which the model continues."""
    last = messages[-1]
    return last.get("role") == "assistant" and bool(last.get("content")) and not last.get("tool_calls")


def rewrite_messages(messages: Sequence[Message], rewrite: Rewrite) -> list[Message]:
    """Apply a rewrite to messages of ``tidy_messages``."""
    return fold_systems([_rewrite(message, rewrite) for message in messages], rewrite.fold)


def _rewrite(message: Message, rewrite: Rewrite) -> Message:
    calls = message.get("tool_calls")
    if calls and rewrite.arguments == "text":
        message = message | {"tool_calls": [_write_arguments(call) for call in calls]}
    if rewrite.empty_content and "content" not in message:
        message = message | {"content": ""}
    return message


def _write_arguments(call: Message) -> Message:
    """Return a tool call with its arguments as JSON text."""
    function = call["function"]
    if isinstance(function["arguments"], str):
        return call
    text = json.dumps(function["arguments"], ensure_ascii=False)
    return call | {"function": function | {"arguments": text}}


def fold_systems(messages: Sequence[Message], which: Literal["none", "later", "all"]) -> list[Message]:
    """Move system messages into the next user message; with ``later`` the first message stays."""
    if which == "none":
        return list(messages)
    folded: list[Message] = []
    pending: list[str] = []
    for index, message in enumerate(messages):
        if message["role"] == "system" and (which == "all" or index > 0):
            pending.append(message.get("content", ""))
        elif message["role"] == "user" and pending:
            content = PARAGRAPH.join([*pending, message.get("content", "")])
            folded.append(message | {"content": content})
            pending = []
        else:
            folded.append(message)
    return [*folded, {"role": "user", "content": PARAGRAPH.join(pending)}] if pending else folded
