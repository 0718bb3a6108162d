"""Read JSON Lines: one object per line, in OpenAI's format or with a prompt field."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING

from webapp.datasets.content import problems
from webapp.datasets.content.problems import RowError
from webapp.datasets.content.rows import Columns, Row, build_row
from webapp.datasets.content.strict_json import parse_json
from webapp.datasets.formats.lines import read_lines

if TYPE_CHECKING:
    from workers.contract.json_types import JsonObject

# Plain words for messages of Python's parser.
JSON_MESSAGES = {
    "Invalid control character at": "a text holds a line break, tab or other control character",
    "Unterminated string starting at": "a text that starts there has no closing quote",
    "Invalid \\escape": "a backslash that starts no valid escape",
}
KINDS = {list: "an array", str: "a text", int: "a number", float: "a number", bool: "true or false"}


def read_rows(file: IO[bytes], columns: Columns | None) -> Iterator[tuple[int, Row | RowError]]:
    """Yield each line that is not blank."""
    for number, text, fields in read_objects(file):
        yield number, fields if isinstance(fields, RowError) else _build_row(number, text, fields, columns)


def read_objects(file: IO[bytes]) -> Iterator[tuple[int, str, JsonObject | RowError]]:
    """Yield the number, the text and the object, or its error, of each line that is not blank."""
    for number, text in read_lines(file):
        if isinstance(text, RowError):
            yield number, "", text
        elif text.strip():
            found = _parse_object(text)
            yield number, text, found.quote(text) if isinstance(found, RowError) else found


def _parse_object(text: str) -> JsonObject | RowError:
    try:
        fields: JsonObject = parse_json(text)
    except RowError as error:
        return error
    except json.JSONDecodeError as error:
        return _describe_error(text, error)
    except ValueError:
        return problems.number_too_long()
    return fields if isinstance(fields, dict) else problems.not_an_object(KINDS.get(type(fields), "null"))


def _build_row(number: int, text: str, fields: JsonObject, columns: Columns | None) -> Row | RowError:
    try:
        return build_row(fields, columns or _guess_columns(fields), number)
    except RowError as error:
        return error.quote(text)


def _guess_columns(fields: JsonObject) -> Columns:
    """Prefer ``messages``, then ``prompt``, which GRPO trainers use for texts and message lists."""
    return Columns(prompt="prompt") if fields.get("messages") is None and "prompt" in fields else Columns()


def _describe_error(text: str, error: json.JSONDecodeError) -> RowError:
    at_end = error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated")
    cut = at_end and not text.endswith("\n")
    detail = JSON_MESSAGES.get(error.msg, error.msg[:1].lower() + error.msg[1:])
    found = problems.cut_off(detail) if cut else problems.not_json(detail, error.colno)
    return found.quote(text, error.pos)
