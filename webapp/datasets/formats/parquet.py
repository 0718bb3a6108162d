"""Parquet, read in small batches after its metadata has been held against the limits."""

from __future__ import annotations

import datetime
import decimal
import uuid
from collections.abc import Iterator
from typing import IO, Any

from webapp.datasets import problems
from webapp.datasets.limits import (
    MAX_ROWS,
    MAX_UNPACKED_BYTES,
    MAX_UNPACKED_RATIO,
    MIN_RATIO_BYTES,
    PARQUET_BATCH_ROWS,
)
from webapp.datasets.problems import RowError
from webapp.datasets.rows import Columns, Row

from .cells import cells_to_row, find_columns


def rows(file: IO[bytes], columns: Columns | None) -> Iterator[tuple[int, Row | RowError]]:
    """Each row, numbered from 1."""
    import pyarrow.parquet  # here, since it takes 60 MB that only Parquet needs

    try:
        table = pyarrow.parquet.ParquetFile(file, pre_buffer=False)
        _check_size(table.metadata, _size(file))
        columns = find_columns(list(table.schema_arrow.names), columns)
        yield from _rows(table, columns)
    except (pyarrow.ArrowException, OSError) as error:
        raise problems.broken_parquet(str(error).split("\n")[0][:200]) from error


def _rows(table: Any, columns: Columns) -> Iterator[tuple[int, Row | RowError]]:
    number = 0
    for batch in table.iter_batches(batch_size=PARQUET_BATCH_ROWS, use_threads=False):
        for cells in batch.to_pylist():
            number += 1
            yield number, _row(cells, columns)


def _row(cells: dict[str, Any], columns: Columns) -> Row | RowError:
    try:
        plain = {name: _plain(name, value) for name, value in cells.items()}
    except RowError as error:
        return error
    if isinstance(plain.get(columns.messages), list):
        plain[columns.messages] = [_without_nulls(message) for message in plain[columns.messages]]
    return cells_to_row(plain, columns)


def _plain(name: str, value: Any) -> Any:
    """The value as JSON knows it: times and exact decimals become text."""
    if isinstance(value, dict):
        return {str(key): _plain(name, part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(name, part) for part in value]
    if isinstance(value, bytes):
        raise problems.bytes_cell(name)
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal | datetime.timedelta | uuid.UUID):
        return str(value)
    return value


def _without_nulls(message: Any) -> Any:
    """A struct column gives every message every key; those that are null were never written."""
    if not isinstance(message, dict):
        return message
    return {key: part for key, part in message.items() if part is not None}


def _size(file: IO[bytes]) -> int:
    size = file.seek(0, 2)
    file.seek(0)
    return size


def _check_size(metadata: Any, file_size: int) -> None:
    if metadata.num_rows == 0:
        raise problems.no_rows()
    if metadata.num_rows > MAX_ROWS:
        raise problems.too_many_rows()
    unpacked = sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
    dense = unpacked > MIN_RATIO_BYTES and unpacked > MAX_UNPACKED_RATIO * file_size
    if unpacked > MAX_UNPACKED_BYTES or dense:
        raise problems.parquet_bomb(unpacked, file_size)
