"""Line and column of a field in a JSON text, so that an editor can underline the one that is wrong."""

from __future__ import annotations

import json
from dataclasses import dataclass
from json.decoder import scanstring  # type: ignore[attr-defined]

_DECODER = json.JSONDecoder()
_SPACE = " \t\r\n"


@dataclass(frozen=True)
class Position:
    """A position in a text; ``line`` and ``column`` are 1-based."""

    line: int
    column: int


def find_position(text: str, path: str) -> Position:
    """Return where the deepest part of the dotted ``path`` begins that ``text``, valid JSON, has.

    Keys with dots in them are found; a step into a list is a number or the ``name`` of its object.
    """
    value_at = found_at = _skip_space(text, 0)
    while path and (step := _enter(text, value_at, path)):
        found_at, value_at, path = step
    return to_position(text, found_at)


def to_position(text: str, offset: int) -> Position:
    """Return the line and column of a character."""
    return Position(text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset))


Step = tuple[int, int, str]
"""(offset of the key or element, offset of its value, rest of the path)."""


def _enter(text: str, start: int, path: str) -> Step | None:
    enter = {"{": _enter_member, "[": _enter_element}.get(text[start : start + 1])
    return enter(text, start + 1, path) if enter else None


def _enter_member(text: str, offset: int, path: str) -> Step | None:
    offset = _skip_space(text, offset)
    while text[offset] == '"':
        key_at = offset
        key, offset = scanstring(text, offset + 1)
        value_at = _skip_space(text, _skip_space(text, offset) + 1)  # behind the colon
        if path == key or path.startswith(key + "."):
            return key_at, value_at, path[len(key) + 1 :]
        offset = _skip_value(text, value_at)
    return None


def _enter_element(text: str, offset: int, path: str) -> Step | None:
    wanted, _, rest = path.partition(".")
    offset, index = _skip_space(text, offset), 0
    while text[offset] != "]":
        value, _ = _DECODER.raw_decode(text, offset)
        if wanted == str(index) or (isinstance(value, dict) and value.get("name") == wanted):
            return offset, offset, rest
        offset, index = _skip_value(text, offset), index + 1
    return None


def _skip_value(text: str, value_at: int) -> int:
    """Return the offset of the next member or element, or of the closing bracket."""
    _, end = _DECODER.raw_decode(text, value_at)
    offset = _skip_space(text, end)
    return _skip_space(text, offset + 1) if text[offset] == "," else offset


def _skip_space(text: str, offset: int) -> int:
    while text[offset : offset + 1] and text[offset] in _SPACE:
        offset += 1
    return offset
