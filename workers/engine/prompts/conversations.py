"""Conversations in the one shape that chat templates know, and the rewrites that some templates need.

Datasets bring what OpenAI's API, Parquet writers and other trainers leave: nulls for absent fields, typed
parts, tool arguments as JSON text or as objects, tools flat or nested. ``tidied`` brings it all to one shape.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Message = dict[str, Any]
PARAGRAPH = "\n\n"  # between a system message and the user message that it is folded into


@dataclass(frozen=True)
class Rewrite:
    """How a conversation is put before a template is applied.

    ``fold`` says which system messages go into the next user message; ``arguments`` whether tool calls carry
    objects or JSON text; ``empty_content`` whether a message of tool calls alone gets an empty content.
    """

    fold: Literal["none", "later", "all"] = "none"
    arguments: Literal["object", "text"] = "object"
    empty_content: bool = False


def without_nulls(value: Any) -> Any:
    """``value`` without the fields that are null, at every depth: Parquet gives each row all rows' fields."""
    if isinstance(value, Mapping):
        return {key: without_nulls(part) for key, part in value.items() if part is not None}
    if isinstance(value, list):
        return [without_nulls(part) for part in value]
    return value


def tidied(messages: Sequence[Mapping[str, Any]]) -> list[Message]:
    """The messages without nulls, with contents as text and tool calls as ``{"type", "function"}``."""
    made: list[Message] = []
    names: dict[str, str] = {}
    for message in messages:
        tidy = without_nulls(message)
        if "content" in tidy:
            tidy["content"] = content_text(tidy["content"])
        calls = [_call(call) for call in tidy.pop("tool_calls", None) or []]
        if calls:
            tidy["tool_calls"] = calls
            names |= {str(call["id"]): call["function"]["name"] for call in calls if "id" in call}
        elif tidy.get("role") == "tool" and "name" not in tidy:
            name = names.get(str(tidy.get("tool_call_id")))
            tidy |= {"name": name} if name else {}
        made.append(tidy)
    return made


def content_text(content: Any) -> str:
    """The text of a content: itself, or its text parts one after another."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(part if isinstance(part, str) else str(part.get("text", "")) for part in content)
    return json.dumps(content, ensure_ascii=False)


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = dict(call.get("function") or {key: call[key] for key in ("name", "arguments") if key in call})
    function["arguments"] = _parsed(function.get("arguments", {}))
    rest = {key: value for key, value in call.items() if key not in ("function", "name", "arguments")}
    return rest | {"type": "function", "function": function}


def _parsed(arguments: Any) -> Any:
    """An object where the text is one; other texts as they are."""
    if not isinstance(arguments, str):
        return arguments
    try:
        value = json.loads(arguments)
    except ValueError:
        return arguments
    return value if isinstance(value, dict) else arguments


def tidied_tools(tools: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Tools without nulls, nested as ``{"type": "function", "function": {...}}``."""
    made = []
    for tool in map(without_nulls, tools):
        if "function" not in tool and "name" in tool:
            tool = {"type": "function", "function": {k: v for k, v in tool.items() if k != "type"}}
        made.append({"type": "function"} | tool)
    return made


def tool_names(tools: Sequence[Mapping[str, Any]]) -> list[str]:
    """The name of each of ``tidied_tools``; those without a name are left out."""
    return [str(tool["function"]["name"]) for tool in tools if "name" in tool.get("function", {})]


def is_prefill(messages: Sequence[Mapping[str, Any]]) -> bool:
    """True if the last message is the beginning of a completion, which the model continues."""
    last = messages[-1]
    return last.get("role") == "assistant" and bool(last.get("content")) and not last.get("tool_calls")


def rewritten(messages: Sequence[Message], rewrite: Rewrite) -> list[Message]:
    """``tidied`` messages as the rewrite puts them."""
    made = [_rewritten(message, rewrite) for message in messages]
    return folded_systems(made, rewrite.fold)


def _rewritten(message: Message, rewrite: Rewrite) -> Message:
    calls = message.get("tool_calls")
    if calls and rewrite.arguments == "text":
        message = message | {"tool_calls": [_with_text(call) for call in calls]}
    if rewrite.empty_content and "content" not in message:
        message = message | {"content": ""}
    return message


def _with_text(call: dict[str, Any]) -> dict[str, Any]:
    function = call["function"]
    if isinstance(function["arguments"], str):
        return call
    text = json.dumps(function["arguments"], ensure_ascii=False)
    return call | {"function": function | {"arguments": text}}


def folded_systems(messages: Sequence[Message], which: Literal["none", "later", "all"]) -> list[Message]:
    """Puts system messages in front of the next user message; with ``later`` the first message stays."""
    if which == "none":
        return list(messages)
    made: list[Message] = []
    waiting: list[str] = []
    for index, message in enumerate(messages):
        if message["role"] == "system" and (which == "all" or index > 0):
            waiting.append(message.get("content", ""))
        elif message["role"] == "user" and waiting:
            content = PARAGRAPH.join([*waiting, message.get("content", "")])
            made.append(message | {"content": content})
            waiting = []
        else:
            made.append(message)
    return [*made, {"role": "user", "content": PARAGRAPH.join(waiting)}] if waiting else made
