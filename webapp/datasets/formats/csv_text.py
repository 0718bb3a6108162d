"""Read CSV with a header, separated by commas, semicolons or tabs. Every cell is a text."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from itertools import islice
from typing import IO, Any

from webapp.datasets.content import problems
from webapp.datasets.content.limits import MAX_CELL_BYTES, SAMPLE_ROWS
from webapp.datasets.content.problems import FileError, RowError, cut_excerpt
from webapp.datasets.content.rows import Columns, Row
from webapp.datasets.formats.cells import cells_to_row, find_columns
from webapp.datasets.formats.lines import read_lines

DELIMITERS = ",;\t"
DELIMITER_LINE = re.compile(r'"?sep=(.)"?\r?\n?')  # a first line that tells spreadsheets the delimiter
QUOTED = re.compile(r'"[^"]*("|$)')
UNNAMED = "Unnamed: 0"  # pandas reads its own unnamed index column under this name
QUOTED_CHARACTERS = 4096


class Records:
    """The records of a file.

    Keeps the first line, number and text of the latest record for errors.
    """

    def __init__(self, file: IO[bytes]) -> None:
        csv.field_size_limit(MAX_CELL_BYTES)
        self.texts, self.read_lines = _decode_lines(file), 0
        self.first_line, self.number, self.text = 1, 0, ""
        self.pending = self._read_header_line()
        self.table: Any = csv.reader(self._feed_lines(), delimiter=self.delimiter, strict=True)

    def _read_header_line(self) -> str:
        """Return the header's first line. A line before it may name the delimiter."""
        first = next(self.texts, "")
        if found := DELIMITER_LINE.fullmatch(first):
            self.read_lines, self.delimiter = 1, found[1]
            return next(self.texts, "")
        outside_quotes = QUOTED.sub("", first)
        self.delimiter = max(DELIMITERS, key=outside_quotes.count)
        return first

    def _feed_lines(self) -> Iterator[str]:
        line: str | None = self.pending
        while line:
            self.read_lines += 1
            if len(self.text) < QUOTED_CHARACTERS:
                self.text += line
            yield line
            line = next(self.texts, None)

    def next(self) -> list[str] | None:
        """Return the cells of the next record, [] for a blank line, None at the end.

        Raises FileError.
        """
        self.first_line, self.text = self.read_lines + 1, ""
        try:
            cells: list[str] | None = next(self.table, None)
        except csv.Error as error:
            excerpt = cut_excerpt(self.text)
            raise problems.broken_csv(str(error), self.first_line, self.number, excerpt) from error
        self.number += bool(cells)
        return cells


def read_rows(file: IO[bytes], columns: Columns | None) -> Iterator[tuple[int, Row | RowError]]:
    """Yield each record below the header with the line on which it starts."""
    names, records = _open_records(file)
    columns = find_columns(names, columns)
    while (cells := records.next()) is not None:
        if not cells:
            continue
        found: Row | RowError
        if len(cells) != len(names):
            found = problems.wrong_cells(len(cells), len(names))
        else:
            found = cells_to_row(dict(zip(names, cells, strict=True)), columns)
        if isinstance(found, RowError):
            found.quote(records.text).record = records.number - 1
        yield records.first_line, found


def sample_rows(file: IO[bytes]) -> tuple[list[str], list[dict[str, str]]]:
    """Return the header and the first complete rows. Raises FileError."""
    names, records = _open_records(file)
    first = islice((cells for cells in iter(records.next, None) if len(cells) == len(names)), SAMPLE_ROWS)
    return names, [dict(zip(names, cells, strict=True)) for cells in first]


def _open_records(file: IO[bytes]) -> tuple[list[str], Records]:
    records = Records(file)
    names = records.next() or []
    if names and not names[0].strip() and UNNAMED not in names:
        names[0] = UNNAMED
    _check_header(names, records)
    return names, records


def _decode_lines(file: IO[bytes]) -> Iterator[str]:
    """Yield lines as text. An undecodable line ends the file, since a record may span lines."""
    for number, text in read_lines(file):
        if isinstance(text, RowError):
            raise FileError(text.reason, text.remedy, line=number, excerpt=text.excerpt)
        yield text


def _check_header(names: list[str], records: Records) -> None:
    if not names:
        raise problems.no_rows()
    if not all(name.strip() for name in names):
        raise problems.bad_header("has a column without a name", records.first_line, records.text)
    if len(set(names)) < len(names):
        raise problems.bad_header("names a column twice", records.first_line, records.text)
