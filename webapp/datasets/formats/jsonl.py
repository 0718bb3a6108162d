"""JSON Lines: one object a line, in the OpenAI reinforcement format or with a named prompt field."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import IO

from webapp.datasets import problems
from webapp.datasets.problems import RowError
from webapp.datasets.rows import Columns, Row, parse_json, row_of

from .lines import lines

# Messages of Python's parser that need other words.
JSON_MESSAGES = {
    "Invalid control character at": "a text holds a line break, tab or other control character",
    "Unterminated string starting at": "a text that starts there has no closing quote",
    "Invalid \\escape": "a backslash that starts no valid escape",
}
KINDS = {list: "an array", str: "a text", int: "a number", float: "a number", bool: "true or false"}


def rows(file: IO[bytes], columns: Columns | None) -> Iterator[tuple[int, Row | RowError]]:
    """Each line that is not blank."""
    for number, text in lines(file):
        if isinstance(text, RowError):
            yield number, text
        elif text.strip():
            yield number, _row(text, columns or Columns())


def _row(text: str, columns: Columns) -> Row | RowError:
    try:
        fields = parse_json(text)
        if not isinstance(fields, dict):
            return problems.not_an_object(KINDS.get(type(fields), "null"))
        return row_of(fields, columns)
    except RowError as error:
        return error
    except json.JSONDecodeError as error:
        return _bad_json(text, error)
    except ValueError:
        return problems.number_too_long()


def _bad_json(text: str, error: json.JSONDecodeError) -> RowError:
    at_end = error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated")
    cut = at_end and not text.endswith("\n")
    detail = JSON_MESSAGES.get(error.msg, error.msg[:1].lower() + error.msg[1:])
    return problems.cut_off(detail) if cut else problems.not_json(detail, error.colno)
