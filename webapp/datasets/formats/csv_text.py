"""CSV with a header, separated by commas, semicolons or tabs; every cell is a text."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import islice
from typing import IO, Any

from webapp.datasets import problems
from webapp.datasets.limits import GLANCED, MAX_CELL_BYTES
from webapp.datasets.problems import FileError, RowError
from webapp.datasets.rows import Columns, Row

from .cells import cells_to_row, find_columns
from .lines import lines

DELIMITERS = ",;\t"


def rows(file: IO[bytes], columns: Columns | None) -> Iterator[tuple[int, Row | RowError]]:
    """Each record below the header, at the line it ends on."""
    names, table = _opened(file)
    columns = find_columns(names, columns)
    while (cells := _next(table)) is not None:
        if not cells:
            continue
        if len(cells) != len(names):
            yield table.line_num, problems.wrong_cells(len(cells), len(names))
        else:
            yield table.line_num, cells_to_row(dict(zip(names, cells, strict=True)), columns)


def glance(file: IO[bytes]) -> tuple[list[str], list[dict[str, str]]]:
    """The header and the first rows that fit it. Raises FileError."""
    names, table = _opened(file)
    first = islice((cells for cells in iter(lambda: _next(table), None) if len(cells) == len(names)), GLANCED)
    return names, [dict(zip(names, cells, strict=True)) for cells in first]


def _opened(file: IO[bytes]) -> tuple[list[str], Any]:
    csv.field_size_limit(MAX_CELL_BYTES)
    text = _texts(file)
    header = next(text, "")
    table = csv.reader(_chained(header, text), delimiter=_delimiter(header), strict=True)
    names = _next(table) or []
    _check_header(names)
    return names, table


def _texts(file: IO[bytes]) -> Iterator[str]:
    """Lines as text. A line that cannot be decoded ends the file, since a record may span lines."""
    for number, text in lines(file):
        if isinstance(text, RowError):
            raise FileError(text.reason, text.fix, line=number)
        yield text


def _chained(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _delimiter(header: str) -> str:
    return max(DELIMITERS, key=header.count)


def _next(table: Any) -> list[str] | None:
    try:
        return next(table, None)
    except csv.Error as error:
        raise problems.broken_csv(str(error), getattr(table, "line_num", 0)) from error


def _check_header(names: list[str]) -> None:
    if not names:
        raise problems.no_rows()
    if not all(name.strip() for name in names):
        raise problems.bad_header("has a column without a name")
    if len(set(names)) < len(names):
        raise problems.bad_header("names a column twice")
