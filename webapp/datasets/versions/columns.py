"""The rows of a split as a Parquet file, for search and histograms.

It has a column of text or numbers for every field, named ``item.NAME``, and the five columns of OWN_TYPES.
The JSON Lines file is the data; this file could be built from it again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from django.core.files.storage import default_storage

from webapp.datasets.content.field_profile import LARGEST
from webapp.datasets.content.rows import Row
from webapp.datasets.reports import FieldReport
from workers.contract.json_types import JsonValue

BATCH_ROWS = 10_000
BATCH_BYTES = 32 * 2**20
OWN_TYPES = {
    "row_id": pa.binary(16),
    "prompt_id": pa.binary(16),
    "prompt": pa.string(),
    "prompt_characters": pa.int64(),
    "messages": pa.int64(),
}
KEYS = ["row_id", "prompt_id"]
ITEM = "item."


def choose_column_types(fields: Iterable[FieldReport]) -> dict[str, pa.DataType]:
    """Return the type of each column: numbers if a field has nothing else, else text."""
    return OWN_TYPES | {
        f"{ITEM}{field['name']}": pa.float64() if _is_number(field) else pa.string() for field in fields
    }


def _is_number(field: FieldReport) -> bool:
    return "number" in field["types"] and set(field["types"]) <= {"number", "null"}


class ColumnWriter:
    """Writes rows in batches, so that one batch at a time is in memory."""

    def __init__(self, path: Path, types: Mapping[str, pa.DataType]) -> None:
        self.types, self.schema = types, pa.schema(list(types.items()))
        self.writer = pq.ParquetWriter(path, self.schema, compression="zstd")
        self.rows: list[dict[str, object]] = []
        self.bytes = 0

    def add(self, row: Row) -> None:
        self.rows.append(self._build_cells(row))
        self.bytes += len(row.body)
        if len(self.rows) >= BATCH_ROWS or self.bytes >= BATCH_BYTES:
            self._flush()

    def close(self) -> None:
        """Write the last batch."""
        self._flush()
        self.writer.close()

    def _build_cells(self, row: Row) -> dict[str, object]:
        prompt = "\n".join(message.get("content") or "" for message in row.messages)
        own: dict[str, object] = {
            "row_id": row.digest,
            "prompt_id": row.prompt_digest,
            "prompt": prompt,
            "prompt_characters": len(prompt) - len(row.messages) + 1,
            "messages": len(row.messages),
        }
        return own | {f"{ITEM}{name}": self._convert(f"{ITEM}{name}", row.item[name]) for name in row.item}

    def _convert(self, column: str, value: JsonValue) -> float | str | None:
        if value is None:
            return None
        if isinstance(value, int | float) and self.types.get(column) == pa.float64():
            return float(value) if abs(value) < LARGEST else None
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

    def _flush(self) -> None:
        if self.rows:
            self.writer.write_table(pa.Table.from_pylist(self.rows, schema=self.schema))
        self.rows, self.bytes = [], 0


@contextmanager
def open_columns(key: str) -> Iterator[pq.ParquetFile]:
    """Open the stored columns under this key."""
    with default_storage.open(key) as file, pq.ParquetFile(file) as columns:
        yield columns


def read_column_types(columns: pq.ParquetFile) -> dict[str, pa.DataType]:
    """Return the type of each column of a stored file."""
    return {field.name: field.type for field in columns.schema_arrow}
