"""Rows cut to what fits on a page."""

from __future__ import annotations

import json
from collections.abc import Mapping

from webapp.datasets.content.row_types import Message, RowPreview, StoredRow
from workers.contract.json_types import JsonObject, JsonValue

MESSAGES_SHOWN = 6
FIELDS_SHOWN = 40
MESSAGE_CHARACTERS = 2000
VALUE_CHARACTERS = 500
MESSAGE_TEXTS = ("role", "name", "tool_call_id", "content", "reasoning_content", "thinking")


def build_preview(number: int, row: StoredRow) -> RowPreview:
    """Return the last messages, first fields and all tools of a row, with long texts cut."""
    messages, item = row["messages"], row["item"]
    shown = messages[-MESSAGES_SHOWN:]
    return {
        "number": number,
        "count": len(messages),
        "hidden": len(messages) - len(shown),
        "messages": [_cut_message(each) for each in shown],
        "tools": [_cut_tool(each["function"]) for each in row.get("tools", [])],
        "item": {name: _cut_value(item[name]) for name in list(item)[:FIELDS_SHOWN]},
    }


def _cut_message(message: Message) -> JsonObject:
    fields: Mapping[str, object] = message
    cut: JsonObject = {}
    for name in MESSAGE_TEXTS:
        text = fields.get(name)
        if isinstance(text, str):
            cut[name] = text if len(text) <= MESSAGE_CHARACTERS else text[:MESSAGE_CHARACTERS] + "…"
    if calls := message.get("tool_calls"):
        cut["tool_calls"] = [
            {
                "function": {
                    "name": call["function"]["name"],
                    "arguments": _cut_value(call["function"]["arguments"]),
                }
            }
            for call in calls
        ]
    return cut


def _cut_tool(function: JsonObject) -> JsonObject:
    return {"name": function["name"], "description": _cut_value(function.get("description", ""))}


def _cut_value(value: JsonValue) -> JsonValue:
    """Return the value, or the start of its text or JSON."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return value if len(text) <= VALUE_CHARACTERS else text[:VALUE_CHARACTERS] + "…"
