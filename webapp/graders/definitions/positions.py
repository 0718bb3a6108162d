"""Where in a JSON text a field stands, so that an editor can underline the one that is wrong."""

from __future__ import annotations

import json
from dataclasses import dataclass
from json.decoder import scanstring  # type: ignore[attr-defined]

_DECODER = json.JSONDecoder()
_SPACE = " \t\r\n"


@dataclass(frozen=True)
class Place:
    """A place in a text; ``line`` and ``column`` are 1-based."""

    line: int
    column: int


def place_of(text: str, path: str) -> Place:
    """Where the deepest part of the dotted ``path`` begins that ``text``, valid JSON, has.

    Keys with dots in them are found; a step into a list is a number or the ``name`` of its object.
    """
    start, remaining, marked = _next(text, 0), path, _next(text, 0)
    while remaining and (step := _entered(text, start, remaining)):
        marked, start, remaining = step
    return at(text, marked)


def at(text: str, position: int) -> Place:
    """The place of a character."""
    return Place(text.count("\n", 0, position) + 1, position - text.rfind("\n", 0, position))


Step = tuple[int, int, str]
"""(where the key or element stands, where its value begins, what is left of the path)."""


def _entered(text: str, start: int, path: str) -> Step | None:
    enter = {"{": _member, "[": _element}.get(text[start : start + 1])
    return enter(text, start + 1, path) if enter else None


def _member(text: str, position: int, path: str) -> Step | None:
    position = _next(text, position)
    while text[position] == '"':
        key_at = position
        key, position = scanstring(text, position + 1)
        value_at = _next(text, _next(text, position) + 1)
        if path == key or path.startswith(key + "."):
            return key_at, value_at, path[len(key) + 1 :]
        position = _after(text, value_at)
    return None


def _element(text: str, position: int, path: str) -> Step | None:
    wanted, _, rest = path.partition(".")
    position, index = _next(text, position), 0
    while text[position] != "]":
        value, _ = _DECODER.raw_decode(text, position)
        if wanted == str(index) or (isinstance(value, dict) and value.get("name") == wanted):
            return position, position, rest
        position, index = _after(text, position), index + 1
    return None


def _after(text: str, value_at: int) -> int:
    """The next member or element, or the closing bracket, behind the value."""
    _, end = _DECODER.raw_decode(text, value_at)
    position = _next(text, end)
    return _next(text, position + 1) if text[position] == "," else position


def _next(text: str, position: int) -> int:
    while text[position : position + 1] and text[position] in _SPACE:
        position += 1
    return position
