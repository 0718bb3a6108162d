"""Unpack the Parquet file on standard input, in a process with a memory limit.

A few bytes of Parquet may unpack to gigabytes, and its reader is native code, so the web process never opens
the file. The output is lines of JSON ``[kind, value]``: first the head, then every row.
"""

from __future__ import annotations

import datetime
import decimal
import json
import resource
import uuid
from collections.abc import Iterator
from typing import Any, TypedDict

BATCH_ROWS = 64
MEMORY_BYTES = 2**30
MAX_ROW_CHARACTERS = 2**23


class Head(TypedDict):
    """Columns, rows and unpacked bytes, as the file states them."""

    columns: list[str]
    rows: int
    unpacked: int


def to_json_value(value: Any) -> Any:
    """Turn times and exact decimals into text. Raises TypeError for raw bytes."""
    if isinstance(value, dict):
        return {str(key): to_json_value(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [to_json_value(part) for part in value]
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal | datetime.timedelta | uuid.UUID):
        return str(value)
    if isinstance(value, bytes):
        raise TypeError
    return value


def describe_table(table: Any) -> Head:
    """Read the head from the metadata of a ``pyarrow.parquet.ParquetFile``."""
    metadata = table.metadata
    groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
    unpacked = sum(group.total_byte_size for group in groups)
    return {"columns": list(table.schema_arrow.names), "rows": metadata.num_rows, "unpacked": unpacked}


def encode_rows(table: Any) -> Iterator[str]:
    """Yield a line for each row. Rows are decoded one by one: a batch may repeat one long text."""
    for batch in table.iter_batches(batch_size=BATCH_ROWS, use_threads=False):
        for index in range(batch.num_rows):
            text = encode_row(batch, index)
            yield text if len(text) <= MAX_ROW_CHARACTERS else json.dumps(["long", len(text)])


def encode_row(batch: Any, index: int) -> str:
    """Encode the cells, or name a column with raw bytes (``raw``) or a repeated key (``twice``)."""
    cells = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            cells[name] = to_json_value(column[index].as_py(maps_as_pydicts="strict"))
        except KeyError:
            return json.dumps(["twice", name])
        except TypeError:
            return json.dumps(["raw", name])
    return json.dumps(["row", cells])


def main() -> None:
    """Write the lines.

    If the file cannot be read to its end, the last one is ``failed`` or ``memory``.
    """
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    import pyarrow.parquet

    try:
        with open(0, "rb") as file:
            table = pyarrow.parquet.ParquetFile(file, pre_buffer=False)
            print(json.dumps(["head", describe_table(table)]))
            for line in encode_rows(table):
                print(line)
    except MemoryError:
        print(json.dumps(["memory", MEMORY_BYTES]))
    except (pyarrow.ArrowException, OSError) as error:
        print(json.dumps(["failed", str(error).split("\n")[0][:200]]))


if __name__ == "__main__":
    main()
