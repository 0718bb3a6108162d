"""What the two table formats share: which column holds the prompt, and a row from its cells."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from webapp.datasets.content import problems
from webapp.datasets.content.limits import MAX_CELL_BYTES, MAX_FIELDS
from webapp.datasets.content.problems import RowError
from webapp.datasets.content.rows import Columns, Row, build_row
from webapp.datasets.content.strict_json import parse_json

USUAL_PROMPTS = ("prompt", "question", "input", "instruction", "query", "text")
PANDAS_INDEX = re.compile(r"Unnamed: \d+(\.\d+)?|__index_level_\d+__")


def find_columns(names: list[str], wanted: Columns | None) -> Columns:
    """The wanted columns if the table has them, else those by the usual names. Raises FileError."""
    if len(names) > MAX_FIELDS:
        raise problems.too_many_columns(len(names))
    if wanted:
        chosen = wanted.prompt or wanted.messages
        if chosen not in names:
            raise problems.missing_column(chosen, names)
        return (
            replace(wanted, left_out=find_index_columns(names) - {chosen})
            if wanted.left_out is None
            else wanted
        )
    return find_columns(names, _guess_columns(names))


def find_index_columns(names: list[str]) -> frozenset[str]:
    """The columns in which pandas writes the numbers of its rows."""
    return frozenset(filter(PANDAS_INDEX.fullmatch, names))


def _guess_columns(names: list[str]) -> Columns:
    if "messages" in names:
        return Columns()
    for name in USUAL_PROMPTS:
        if match := next((column for column in names if column.strip().lower() == name), None):
            return Columns(prompt=match)
    raise problems.no_prompt_column(names)


def cells_to_row(cells: Mapping[str, Any], columns: Columns) -> Row | RowError:
    """The row, or why there is none. Messages and tools may be JSON text."""
    try:
        fields = {name: cell for name, cell in cells.items() if name not in (columns.left_out or ())}
        _check_sizes(fields)
        if not columns.prompt and isinstance(fields.get(columns.messages), str):
            fields[columns.messages] = _parse_cell(columns.messages, fields[columns.messages])
        return build_row(fields, columns)
    except RowError as error:
        return error


def _check_sizes(fields: Mapping[str, Any]) -> None:
    for name, value in fields.items():
        if isinstance(value, str) and len(value) > MAX_CELL_BYTES:
            raise problems.cell_too_large(name)


def _parse_cell(name: str, text: str) -> Any:
    if not text.strip():
        return None
    try:
        return parse_json(text)
    except RowError:
        raise
    except ValueError as error:
        raise RowError(f"The cell {name!r} is not JSON: {error}.", "Write the list as JSON text.") from error
