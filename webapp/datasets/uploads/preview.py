"""Rows cut to what fits on a page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

MESSAGES_SHOWN = 6
FIELDS_SHOWN = 40
MESSAGE_CHARACTERS = 2000
VALUE_CHARACTERS = 500
MESSAGE_TEXTS = ("role", "name", "tool_call_id", "content", "reasoning_content", "thinking")


def build_preview(number: int, row: Mapping[str, Any]) -> dict[str, Any]:
    """The last messages, the first fields and the tools of a row as versions keep it, long texts cut.

    ``count`` is the number of all messages, ``hidden`` of those that are left out.
    """
    messages, item = row["messages"], row["item"]
    shown = messages[-MESSAGES_SHOWN:]
    return {
        "number": number,
        "count": len(messages),
        "hidden": len(messages) - len(shown),
        "messages": [_cut_message(each) for each in shown],
        "tools": [_cut_tool(each["function"]) for each in row.get("tools", ())],
        "item": {name: _cut_value(item[name]) for name in list(item)[:FIELDS_SHOWN]},
    }


def _cut_message(message: Mapping[str, Any]) -> dict[str, Any]:
    texts = {name: _cut_text(message[name]) for name in MESSAGE_TEXTS if isinstance(message.get(name), str)}
    calls = [_cut_call(each["function"]) for each in message.get("tool_calls", ())]
    return texts | ({"tool_calls": calls} if calls else {})


def _cut_call(function: Mapping[str, Any]) -> dict[str, Any]:
    return {"function": {"name": function["name"], "arguments": _cut_value(function["arguments"])}}


def _cut_tool(function: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": function["name"], "description": _cut_value(function.get("description", ""))}


def _cut_text(text: str) -> str:
    return text if len(text) <= MESSAGE_CHARACTERS else text[:MESSAGE_CHARACTERS] + "…"


def _cut_value(value: Any) -> Any:
    """The value, or the beginning of its text or JSON."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return value if len(text) <= VALUE_CHARACTERS else text[:VALUE_CHARACTERS] + "…"
