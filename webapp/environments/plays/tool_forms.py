"""Forms for calls of tools, generated from the tools' JSON schemas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django import forms

from webapp.core.object_field import ObjectField
from webapp.environments.findings import Move
from workers.contract.json_types import JsonObject

JSON_HELP = 'JSON, such as [1, 2] or {"key": "value"}.'


class ToolForm(forms.Form):
    """The arguments of one tool."""

    def __init__(self, tool: JsonObject, data: Mapping[str, Any] | None = None) -> None:
        function = _read_function(tool)
        self.name, self.description = read_name(tool), str(function.get("description", ""))
        super().__init__(data, prefix=self.name)
        schema = function.get("parameters") or {}
        required = schema.get("required", [])
        properties = schema.get("properties", {})
        self._required = frozenset(required)
        for name in sorted(properties, key=lambda name: required.index(name) if name in required else 99):
            self.fields[name] = _build_field(name, properties[name], required=name in required)

    def read_move(self) -> Move:
        """Return the call; optional arguments that are left empty are not sent. The form must be valid."""
        sent = {
            name: None if value == "" else value
            for name, value in self.cleaned_data.items()
            if name in self._required or value not in (None, "", {})
        }
        return {"tool": self.name, "arguments": sent}


class MessageForm(forms.Form):
    """A message without a tool call."""

    message = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 3}), label="Message",
        help_text="The episode ends with it, unless a scripted user replies.",
    )  # fmt: skip


def build_tool_forms(tools: Sequence[JsonObject], data: Mapping[str, Any] | None = None) -> list[ToolForm]:
    """Return a form a tool. The one that ``data`` calls is bound to it."""
    called = data.get("tool") if data else None
    return [ToolForm(tool, data if read_name(tool) == called else None) for tool in tools]


def read_name(tool: JsonObject) -> str:
    """Return the name of a tool."""
    return str(_read_function(tool)["name"])


def _read_function(tool: JsonObject) -> dict[str, Any]:
    function = tool["function"]
    assert isinstance(function, dict)
    return function


def _build_field(name: str, schema: Mapping[str, Any], *, required: bool) -> forms.Field:
    common: dict[str, Any] = {
        "label": name,
        "required": required and not schema.get("nullable"),
        "help_text": str(schema.get("description", "")),
        "initial": schema.get("default"),
    }
    if options := schema.get("enum"):
        by_text = {str(option): option for option in options}
        none = [] if common["required"] else [("", "none")]
        choices = [*none, *((text, text) for text in by_text)]
        return forms.TypedChoiceField(choices=choices, coerce=by_text.get, empty_value="", **common)
    kind = schema.get("type", "string")
    if kind == "boolean":
        return forms.BooleanField(**common | {"required": False})
    if kind == "integer":
        return forms.IntegerField(**common)
    if kind == "number":
        return forms.FloatField(widget=forms.NumberInput(attrs={"step": "any"}), **common)
    if kind == "string":
        return forms.CharField(**common)
    field = ObjectField if kind == "object" else forms.JSONField
    return field(**common | {"help_text": f"{common['help_text']} {JSON_HELP}".strip()})
