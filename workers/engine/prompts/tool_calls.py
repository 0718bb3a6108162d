"""Tool calls in the texts of models: their formats, found by rendering one, and parsing."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from workers.contract.environments import ToolCall
from workers.contract.json_types import JsonObject
from workers.engine.prompts.rendering import TOOL, USER, Renderer, RenderingError
from workers.grading.sample import parse_json

PROBE: list[dict[str, Any]] = [
    USER,
    {
        "role": "assistant",
        "tool_calls": [
            {
                "id": "zzcall001",
                "type": "function",
                "function": {"name": "zztool", "arguments": {"zzkey": "zzvalue"}},
            }
        ],
    },
    {"role": "tool", "tool_call_id": "zzcall001", "content": "zzresult"},
]


@dataclass(frozen=True)
class CallFormat:
    """How a family writes a call: JSON with the name and ``arguments`` between ``begin`` and ``end``.

    Without ``end`` calls fill the rest of the completion. ``listed`` calls are a JSON list.
    """

    begin: str
    end: str
    arguments: str
    listed: bool = False

    @property
    def begin_text(self) -> str:
        """Text before the JSON of a forced call."""
        return f"{self.begin}\n" if self.end else f"{self.begin}[" if self.listed else self.begin

    @property
    def end_text(self) -> str:
        """Text after the JSON of a forced call."""
        return f"\n{self.end}" if self.end else "]" if self.listed else ""

    def write_head(self, name: str) -> str:
        """Return the JSON of a forced call up to its arguments."""
        return f'{{"name": {json.dumps(name)}, {json.dumps(self.arguments)}: '


HEAD = r'\{\s*"name":\s*"zztool",\s*'
KNOWN = (
    (rf'<tool_call>\s*{HEAD}"arguments":', CallFormat("<tool_call>", "</tool_call>", "arguments")),
    (rf'\[TOOL_CALLS\]\s*\[\s*{HEAD}"arguments":', CallFormat("[TOOL_CALLS]", "", "arguments", True)),
    (rf'{HEAD}"parameters":', CallFormat("", "", "parameters")),
)
"""How the probe is written, and the format that it shows: of Qwen and Hermes, of Mistral, of Llama 3."""


@dataclass(frozen=True)
class WrittenCall:
    """A parsed call; ``arguments`` is JSON text."""

    name: str
    arguments: str

    def describe(self) -> JsonObject:
        """Return the call in the form of the API, with a new id."""
        function: JsonObject = {"name": self.name, "arguments": self.arguments}
        return {"id": f"call_{secrets.token_hex(12)}", "type": "function", "function": function}


def find_format(renderer: Renderer) -> CallFormat | None:
    """Return how the template writes calls; ``None`` if it shows no tools or another form."""
    if not renderer.shows_tools:
        return None
    try:
        rendered = renderer.render(PROBE, [TOOL])
    except RenderingError:
        return None
    return next((form for pattern, form in KNOWN if re.search(pattern, rendered)), None)


def parse_calls(text: str, form: CallFormat, names: Sequence[str]) -> list[WrittenCall]:
    """Return the calls in the text between ``begin`` and ``end``; none unless all are of known tools."""
    calls = _read_calls(text, form)
    if not all(call.name in names for call in calls):
        return []
    return [WrittenCall(call.name, json.dumps(call.arguments, ensure_ascii=False)) for call in calls]


def split_calls(text: str, form: CallFormat) -> tuple[str, list[ToolCall]]:
    """Return the content of a whole turn and its calls, also of unknown tools.

    A marked block that is no call becomes one without arguments, which keeps its text.
    """
    if not form.begin:
        calls = _read_calls(text, form) if text.lstrip().startswith("{") else []
        return ("", calls) if calls else (text, [])
    content, *blocks = text.split(form.begin)
    found: list[ToolCall] = []
    for block in blocks:
        body, _, rest = block.partition(form.end) if form.end else (block, "", "")
        found += _read_calls(body, form) or [ToolCall(name="", arguments=None, text=body.strip())]
        content += rest
    return content.strip() if found else text, found


def _read_calls(text: str, form: CallFormat) -> list[ToolCall]:
    """Return the calls in JSON, one or a list; none if any part of it is no call."""
    with suppress(ValueError, TypeError, KeyError, RecursionError):
        found = parse_json(text)
        return [_read_call(call, form) for call in (found if isinstance(found, list) else [found])]
    return []


def _read_call(call: Any, form: CallFormat) -> ToolCall:
    """Raises ``KeyError``, ``TypeError`` or ``ValueError`` for anything but a call."""
    return ToolCall(name=call["name"], arguments=_require_object(call[form.arguments]))


def _require_object(arguments: Any) -> JsonObject:
    if not isinstance(arguments, dict):
        raise TypeError("arguments are an object")
    return arguments
