"""Unpacks the Parquet file on standard input: a process of its own, with a bound on its memory.

A few bytes of Parquet may stand for gigabytes, and its reader is native code. So the file is read apart
from the web process, and comes out as lines of JSON ``[kind, value]``: first the head, then every row.
"""

from __future__ import annotations

import datetime
import decimal
import json
import resource
import uuid
from collections.abc import Iterator
from typing import Any

BATCH_ROWS = 64
MEMORY_BYTES = 2**30
MAX_ROW_CHARACTERS = 2**23


def to_json_value(value: Any) -> Any:
    """The value as JSON knows it: times and exact decimals become text. Raises TypeError for raw bytes."""
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


def describe_table(table: Any) -> dict[str, Any]:
    """What the file says about itself; ``unpacked`` is in bytes."""
    metadata = table.metadata
    groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
    unpacked = sum(group.total_byte_size for group in groups)
    return {"columns": list(table.schema_arrow.names), "rows": metadata.num_rows, "unpacked": unpacked}


def encode_rows(table: Any) -> Iterator[str]:
    """A line for each row. Rows are made one at a time, since in a batch a long text may be repeated."""
    for batch in table.iter_batches(batch_size=BATCH_ROWS, use_threads=False):
        for place in range(batch.num_rows):
            text = encode_row(batch, place)
            yield text if len(text) <= MAX_ROW_CHARACTERS else json.dumps(["long", len(text)])


def encode_row(batch: Any, place: int) -> str:
    """The row's cells, or the name of the column whose cell holds raw bytes or a map with a key twice."""
    cells = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            cells[name] = to_json_value(column[place].as_py(maps_as_pydicts="strict"))
        except KeyError:
            return json.dumps(["twice", name])
        except TypeError:
            return json.dumps(["raw", name])
    return json.dumps(["row", cells])


def main() -> None:
    """Writes the lines; the last one is ``failed`` or ``memory`` if the file could not be read to its end."""
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
