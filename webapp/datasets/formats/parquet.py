"""Read Parquet through a child process with bounded memory, and check the limits on the way."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from webapp.datasets.content import problems
from webapp.datasets.content.limits import (
    MAX_ROWS,
    MAX_UNPACKED_BYTES,
    MAX_UNPACKED_RATIO,
    MIN_RATIO_BYTES,
    SAMPLE_ROWS,
)
from webapp.datasets.content.problems import RowError
from webapp.datasets.content.rows import Columns, Row
from webapp.datasets.content.strict_json import parse_json
from webapp.datasets.formats.cells import cells_to_row, find_columns

if TYPE_CHECKING:
    from workers.contract.json_types import JsonObject, JsonValue

ROOT = Path(__file__).parents[3]
CHILD = [sys.executable, "-m", "webapp.datasets.formats.parquet_child"]
# The system allocator: Arrow's own reserves memory that would count against the child's limit.
ENVIRONMENT = {"ARROW_DEFAULT_MEMORY_POOL": "system", "OMP_NUM_THREADS": "1"}


def read_rows(file: IO[bytes], columns: Columns | None) -> Iterator[tuple[int, Row | RowError]]:
    """Yield each row with its number from 1."""
    size, unpacked = _measure_bytes(file), 0
    with _unpack(file) as lines:
        _, head = _parse_message(lines.readline())
        _check_limits(head["rows"], head["unpacked"], size)
        columns = find_columns(head["columns"], columns)
        for number in range(1, head["rows"] + 1):
            line = lines.readline()
            unpacked += len(line)
            _check_limits(number, unpacked, size)
            yield number, _parse_row(line, columns)


def sample_rows(file: IO[bytes]) -> tuple[list[str], list[JsonObject]]:
    """Return the columns and the first readable rows. Raises FileError."""
    with _unpack(file) as lines:
        _, head = _parse_message(lines.readline())
        found: list[JsonObject] = []
        for _ in range(min(SAMPLE_ROWS, head["rows"])):
            with suppress(RowError):
                kind, value = _parse_message(lines.readline())
                if kind == "row":
                    found.append(value)
        return head["columns"], found


def _measure_bytes(file: IO[bytes]) -> int:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    return size


@contextmanager
def _unpack(file: IO[bytes]) -> Iterator[IO[bytes]]:
    """Open the child's output. The child ends with the block."""
    with _copy_to_disk(file) as stdin:
        environment = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
        child = subprocess.Popen(
            CHILD,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=ROOT,
            env=environment | ENVIRONMENT,
        )
        assert child.stdout
        try:
            yield child.stdout
        finally:
            child.kill()
            child.stdout.close()
            child.wait()


@contextmanager
def _copy_to_disk(file: IO[bytes]) -> Iterator[IO[bytes]]:
    """Open the file itself, or a copy of it if it is in memory."""
    try:
        file.fileno()
    except OSError:
        with tempfile.TemporaryFile() as copy:
            shutil.copyfileobj(file, copy)
            copy.seek(0)
            yield copy
    else:
        yield file


def _check_limits(rows: int, unpacked: int, size: int) -> None:
    if rows == 0:
        raise problems.no_rows()
    if rows > MAX_ROWS:
        raise problems.too_many_rows()
    dense = unpacked > MIN_RATIO_BYTES and unpacked > MAX_UNPACKED_RATIO * size
    if unpacked > MAX_UNPACKED_BYTES or dense:
        raise problems.parquet_bomb(size)


def _parse_message(line: bytes) -> tuple[str, Any]:
    """Return the kind and value of a line.

    Raises FileError if the child failed, RowError for NaN.
    """
    if not line:  # the child was killed, most often at its memory limit
        raise problems.parquet_too_large_inside()
    kind, value = parse_json(line.decode())
    if kind == "memory":
        raise problems.parquet_too_large_inside()
    if kind == "failed":
        raise problems.broken_parquet(value)
    return kind, value


def _parse_row(line: bytes, columns: Columns) -> Row | RowError:
    try:
        kind, value = _parse_message(line)
    except RowError as error:
        return error
    if kind == "raw":
        return problems.bytes_cell(value)
    if kind == "twice":
        return problems.duplicate_map_key(value)
    if kind == "long":
        return problems.line_too_long()
    for name in (columns.prompt or columns.messages, "tools"):
        if isinstance(value.get(name), list):
            value[name] = _drop_nulls(value[name])
    found = cells_to_row(value, columns)
    if isinstance(found, RowError):
        return found.quote(line.decode()[len('["row", ') : -len("]\n")])
    return found


def _drop_nulls(value: JsonValue) -> JsonValue:
    """Drop nulls at any depth: a struct column gives every message the keys of all others."""
    if isinstance(value, list):
        return [_drop_nulls(part) for part in value]
    if isinstance(value, dict):
        return {key: _drop_nulls(part) for key, part in value.items() if part is not None}
    return value
