"""Rows cut to what fits on a page."""

from __future__ import annotations

import json
from typing import Any

MESSAGES_SHOWN = 6
FIELDS_SHOWN = 40
MESSAGE_CHARACTERS = 2000
VALUE_CHARACTERS = 500


def preview(number: int, messages: list[dict[str, Any]], item: dict[str, Any]) -> dict[str, Any]:
    """The row's last messages and first fields, long texts cut; ``hidden`` counts the messages left out."""
    shown = messages[-MESSAGES_SHOWN:]
    return {
        "number": number,
        "hidden": len(messages) - len(shown),
        "messages": [{"role": each["role"], "content": _text(each.get("content") or "")} for each in shown],
        "item": {name: _value(item[name]) for name in list(item)[:FIELDS_SHOWN]},
    }


def _text(text: str) -> str:
    return text if len(text) <= MESSAGE_CHARACTERS else text[:MESSAGE_CHARACTERS] + "…"


def _value(value: Any) -> Any:
    """The value, or the beginning of its text or JSON."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return value if len(text) <= VALUE_CHARACTERS else text[:VALUE_CHARACTERS] + "…"
