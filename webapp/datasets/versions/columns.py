"""The rows of an open split as columns: a Parquet file beside its JSON Lines, for search and statistics.

It holds a column of text or numbers for every field, under ``item.NAME``, and five of its own. The JSON Lines
stay the data; this file can be made from them again at any time.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from django.core.files.storage import default_storage

from webapp.datasets.content.field_profile import LARGEST
from webapp.datasets.content.rows import Row

BATCH_ROWS = 10_000
BATCH_BYTES = 32 * 2**20
OWN_TYPES = {
    "row_id": pa.binary(16),
    "prompt_id": pa.binary(16),
    "prompt": pa.string(),
    "prompt_characters": pa.int64(),
    "messages": pa.int64(),
}
KEYS = ["row_id", "prompt_id"]  # what names a row, and what names its prompt
ITEM = "item."


def choose_column_types(fields: Iterable[dict[str, Any]]) -> dict[str, pa.DataType]:
    """Column -> type for the fields of a report: numbers where nothing but numbers stands, else text."""
    return OWN_TYPES | {
        f"{ITEM}{field['name']}": pa.float64() if _is_number(field) else pa.string() for field in fields
    }


def _is_number(field: dict[str, Any]) -> bool:
    return "number" in field["types"] and set(field["types"]) <= {"number", "null"}


class ColumnWriter:
    """Takes rows one by one and writes them in batches, so memory holds one batch."""

    def __init__(self, path: Path, kinds: Mapping[str, pa.DataType]) -> None:
        self.kinds, self.schema = kinds, pa.schema(list(kinds.items()))
        self.writer = pq.ParquetWriter(path, self.schema, compression="zstd")
        self.rows: list[dict[str, Any]] = []
        self.bytes = 0

    def add(self, row: Row) -> None:
        self.rows.append(self._cells(row))
        self.bytes += len(row.body)
        if len(self.rows) >= BATCH_ROWS or self.bytes >= BATCH_BYTES:
            self._flush()

    def close(self) -> None:
        """Write what is left."""
        self._flush()
        self.writer.close()

    def _cells(self, row: Row) -> dict[str, Any]:
        prompt = "\n".join(message.get("content") or "" for message in row.messages)
        own = {
            "row_id": row.digest,
            "prompt_id": row.prompt_digest,
            "prompt": prompt,
            "prompt_characters": len(prompt) - len(row.messages) + 1,
            "messages": len(row.messages),
        }
        return own | {f"{ITEM}{name}": self._cell(f"{ITEM}{name}", row.item[name]) for name in row.item}

    def _cell(self, column: str, value: Any) -> float | str | None:
        if value is None:
            return None
        if self.kinds.get(column) == pa.float64():
            return float(value) if abs(value) < LARGEST else None
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

    def _flush(self) -> None:
        if self.rows:
            self.writer.write_table(pa.Table.from_pylist(self.rows, schema=self.schema))
        self.rows, self.bytes = [], 0


@contextmanager
def open_columns(key: str) -> Iterator[pq.ParquetFile]:
    """The stored columns under this key."""
    with default_storage.open(key) as file, pq.ParquetFile(file) as columns:
        yield columns


def read_column_types(columns: pq.ParquetFile) -> dict[str, pa.DataType]:
    """Column -> type of a stored file."""
    return {field.name: field.type for field in columns.schema_arrow}
