"""Shared by CSV and Parquet: find the prompt column, and build a row from cells."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from webapp.datasets.content import problems
from webapp.datasets.content.limits import MAX_CELL_BYTES, MAX_FIELDS
from webapp.datasets.content.problems import RowError
from webapp.datasets.content.rows import Columns, Row, build_row
from webapp.datasets.content.strict_json import parse_json

if TYPE_CHECKING:
    from workers.contract.json_types import JsonValue

USUAL_PROMPTS = ("prompt", "question", "input", "instruction", "query", "text")
PANDAS_INDEX = re.compile(r"Unnamed: \d+(\.\d+)?|__index_level_\d+__")


def find_columns(names: list[str], wanted: Columns | None) -> Columns:
    """Return the wanted columns, or without a wish those with the usual names. Raises FileError."""
    if len(names) > MAX_FIELDS:
        raise problems.too_many_columns(len(names))
    if wanted:
        column = wanted.prompt or wanted.messages
        if column not in names:
            raise problems.missing_column(column, names)
        if wanted.left_out is None:
            return replace(wanted, left_out=find_index_columns(names) - {column})
        return wanted
    return find_columns(names, _guess_columns(names))


def find_index_columns(names: list[str]) -> frozenset[str]:
    """Return the columns in which pandas writes its row numbers."""
    return frozenset(filter(PANDAS_INDEX.fullmatch, names))


def _guess_columns(names: list[str]) -> Columns:
    if "messages" in names:
        return Columns()
    for name in USUAL_PROMPTS:
        if match := next((column for column in names if column.strip().lower() == name), None):
            return Columns(prompt=match)
    raise problems.no_prompt_column(names)


def cells_to_row(cells: Mapping[str, JsonValue], columns: Columns) -> Row | RowError:
    """Return the row or its error. Messages and tools may be JSON text."""
    try:
        fields = {name: cell for name, cell in cells.items() if name not in (columns.left_out or ())}
        for name, cell in fields.items():
            if isinstance(cell, str) and len(cell) > MAX_CELL_BYTES:
                raise problems.cell_too_large(name)
        messages = fields.get(columns.messages)
        if not columns.prompt and isinstance(messages, str):
            fields[columns.messages] = _parse_cell(columns.messages, messages)
        return build_row(fields, columns)
    except RowError as error:
        return error


def _parse_cell(name: str, text: str) -> JsonValue:
    if not text.strip():
        return None
    try:
        value: JsonValue = parse_json(text)
    except RowError:
        raise
    except ValueError as error:
        raise RowError(f"The cell {name!r} is not JSON: {error}.", "Write the list as JSON text.") from error
    return value
