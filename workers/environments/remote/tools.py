"""Tools and other JSON of a server, which is data: checked, bounded and made harmless."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from workers.contract.json_types import JsonObject, JsonValue
from workers.environments.backend import EnvironmentFault
from workers.environments.text import clean_text

MOST_TOOLS = 128
MOST_SCHEMA_CHARACTERS = 64_000
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_HEADER = re.compile(r"[\x21-\x7e]{1,200}")


def build_tools(found: Sequence[tuple[JsonValue, JsonValue, JsonValue]]) -> dict[str, JsonObject]:
    """Return OpenAI's function tools by name, from names, descriptions and schemas of arguments.

    Raises ``EnvironmentFault``.
    """
    if not 0 < len(found) <= MOST_TOOLS:
        cause = f"the server offers {len(found)} tools"
        raise EnvironmentFault(cause, f"Let it offer 1 to {MOST_TOOLS}.")
    return {str(name): _build_tool(name, description, schema) for name, description, schema in found}


def _build_tool(name: JsonValue, description: JsonValue, schema: JsonValue) -> JsonObject:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        cause = "the server offers a tool whose name is not 1 to 64 letters, digits, _, . or -"
        raise EnvironmentFault(cause, "Rename the tool.")
    parameters: JsonValue = {} if schema is None else schema
    if not isinstance(parameters, dict) or parameters.get("type", "object") != "object":
        raise EnvironmentFault(f"tool {name} takes no object of arguments", "Correct its schema.")
    if len(json.dumps(parameters)) > MOST_SCHEMA_CHARACTERS:
        cause = f"the schema of tool {name} is longer than {MOST_SCHEMA_CHARACTERS:,} characters"
        raise EnvironmentFault(cause, "Simplify its arguments.")
    whole: JsonObject = {"type": "object", "properties": {}, **parameters}
    text = description if isinstance(description, str) else ""
    function: JsonObject = {
        "name": name,
        "description": clean_text(text, MOST_SCHEMA_CHARACTERS),
        "parameters": whole,
    }
    return {"type": "function", "function": clean_json(function)}


def clean_json(value: JsonValue) -> JsonValue:
    """Return a value whose texts any database can store."""
    if isinstance(value, str):
        return clean_text(value, len(value))
    if isinstance(value, list):
        return [clean_json(each) for each in value]
    if isinstance(value, dict):
        return {clean_text(key, len(key)): clean_json(each) for key, each in value.items()}
    return value


def describe_block(block: JsonObject) -> str:
    """Return the text of a content block of a result; other kinds are named."""
    resource = block.get("resource")
    text = (resource if isinstance(resource, dict) else block).get("text")
    return text if isinstance(text, str) else f"[{block.get('type', 'content')}: not text]"


def is_header(value: JsonValue) -> bool:
    """Return True if a value of the server can be sent back in a header."""
    return isinstance(value, str) and _HEADER.fullmatch(value) is not None
