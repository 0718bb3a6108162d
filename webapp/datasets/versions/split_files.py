"""A version's files, one per split: written once with their hashes, and read by position.

Each has a Parquet file of columns. That of the sealed split has only hashes of rows and prompts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import pyarrow as pa
from asgiref.sync import sync_to_async
from django.core.files import File
from django.core.files.storage import default_storage

from webapp.datasets.content.limits import ROWS_PER_OFFSET
from webapp.datasets.content.row_types import StoredRow
from webapp.datasets.content.rows import Row, Split, hash_prompt
from webapp.datasets.models import DatasetVersion
from webapp.datasets.reports import SplitFile
from webapp.datasets.versions.columns import KEYS, OWN_TYPES, ColumnWriter, open_columns

CHUNK_BYTES = 2**18
KEYS_SCHEMA = pa.schema([(name, OWN_TYPES[name]) for name in KEYS])


@dataclass
class WrittenSplit:
    """One split's local files. ``offsets`` lists the byte at which every 500th row starts."""

    path: Path
    columns: Path
    rows: int = 0
    size: int = 0
    training_bytes: int = 0
    offsets: list[int] = field(default_factory=list)
    hash: hashlib._Hash = field(default_factory=hashlib.sha256)

    def add(self, stream: IO[bytes], row: Row) -> None:
        if self.rows % ROWS_PER_OFFSET == 0:
            self.offsets.append(self.size)
        line = row.encode_line()
        stream.write(line)
        self.hash.update(line)
        self.rows += 1
        self.size += len(line)
        self.training_bytes += row.training_bytes


WrittenSplits = dict[Split, WrittenSplit]


def write_splits(
    rows: Iterator[tuple[Split, Row]], types: Mapping[str, pa.DataType], folder: Path
) -> WrittenSplits:
    """Write a JSON Lines file and a Parquet file per split below ``folder``."""
    files = {
        split: WrittenSplit(folder / f"{split.label}.jsonl", folder / f"{split.label}.parquet")
        for split in Split
    }
    keys = dict(zip(KEYS_SCHEMA.names, KEYS_SCHEMA.types, strict=True))
    with ExitStack() as stack:
        streams = {split: stack.enter_context(file.path.open("wb")) for split, file in files.items()}
        columns = {
            split: stack.enter_context(closing(ColumnWriter(file.columns, keys if split.sealed else types)))
            for split, file in files.items()
        }
        for split, row in rows:
            files[split].add(streams[split], row)
            columns[split].add(row)
    return files


def hash_splits(files: WrittenSplits) -> str:
    """Return the content hash of a version: sha256 over the names and hashes of its splits."""
    text = "".join(f"{split.label}:{files[split].hash.hexdigest()}\n" for split in Split)
    return hashlib.sha256(text.encode()).hexdigest()


def store_splits(files: WrittenSplits, prefix: str) -> dict[str, SplitFile]:
    """Copy the files into storage, all or none. Returns ``DatasetVersion.files``."""
    stored: dict[str, SplitFile] = {}
    try:
        for split, file in files.items():
            stored[split.label] = {
                "key": _copy(file.path, prefix),
                "sha256": file.hash.hexdigest(),
                "rows": file.rows,
                "bytes": file.size,
                "training_bytes": file.training_bytes,
            }
            stored[split.label]["columns"] = _copy(file.columns, prefix)
    except BaseException:
        delete_splits(stored)
        raise
    return stored


def _copy(path: Path, prefix: str) -> str:
    with path.open("rb") as stream:
        return default_storage.save(f"{prefix}/{path.name}", File(stream))


def delete_splits(stored: dict[str, SplitFile]) -> None:
    """Delete the files that ``store_splits`` copied."""
    for file in stored.values():
        for key in (file["key"], file.get("columns")):
            if key:
                default_storage.delete(key)


def read_rows(version: DatasetVersion, split: str, positions: Iterable[int]) -> list[StoredRow]:
    """Read the rows at ascending 0-based ``positions``, and little more than these."""
    offsets = version.report["offsets"][split]
    found: list[StoredRow] = []
    with default_storage.open(version.files[split]["key"]) as file:
        current = 0
        for position in positions:
            if position // ROWS_PER_OFFSET > current // ROWS_PER_OFFSET:
                current = position // ROWS_PER_OFFSET * ROWS_PER_OFFSET
                file.seek(offsets[current // ROWS_PER_OFFSET])
            for _ in range(position - current):
                file.readline()
            found.append(json.loads(file.readline()))
            current = position + 1
    return found


def read_keys(version: DatasetVersion, split: Split) -> pa.Table:
    """Return ``row_id`` and ``prompt_id`` of every row of a split, in order."""
    file = version.files[split.label]
    if "columns" not in file:
        return _compute_keys(file) if file["rows"] else KEYS_SCHEMA.empty_table()
    with open_columns(file["columns"]) as columns:
        return columns.read(columns=KEYS)


def _compute_keys(file: SplitFile) -> pa.Table:
    """Compute the keys of a test split written before test splits had columns."""
    with default_storage.open(file["key"]) as lines:
        found = [
            {"row_id": bytes.fromhex(row["row_id"]), "prompt_id": hash_prompt(row["messages"])}
            for row in map(json.loads, lines)
        ]
    return pa.Table.from_pylist(found, schema=KEYS_SCHEMA)


def read_prompt_splits(version: DatasetVersion) -> dict[bytes, Split]:
    """Return the split of every prompt of a version, by its ``hash_prompt``."""
    return {prompt: split for split in Split for prompt in read_keys(version, split)["prompt_id"].to_pylist()}


async def stream_chunks(key: str) -> AsyncIterator[bytes]:
    """Stream a stored file.

    Asynchronous: Django would read a plain iterator into memory under ASGI.
    """
    file = await sync_to_async(default_storage.open)(key)
    try:
        while chunk := await sync_to_async(file.read)(CHUNK_BYTES):
            yield chunk
    finally:
        await sync_to_async(file.close)()
