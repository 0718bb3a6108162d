"""A version's files, one a split: written once with their hashes, read where one looks.

Their columns lie beside them; of the sealed split only those that name rows and prompts by hashes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
from asgiref.sync import sync_to_async
from django.core.files import File
from django.core.files.storage import default_storage

from webapp.datasets.content.limits import ROWS_PER_OFFSET
from webapp.datasets.content.rows import Row, Split, hash_prompt
from webapp.datasets.models import DatasetVersion
from webapp.datasets.versions.columns import KEYS, OWN_TYPES, ColumnWriter, open_columns

CHUNK_BYTES = 2**18
KEYS_SCHEMA = pa.schema([(name, OWN_TYPES[name]) for name in KEYS])


@dataclass
class WrittenSplit:
    """One split's file on this machine. ``offsets`` holds the byte where every 500th row begins."""

    path: Path
    columns: Path
    rows: int = 0
    size: int = 0
    offsets: list[int] = field(default_factory=list)
    hash: Any = field(default_factory=hashlib.sha256)

    def add(self, stream: IO[bytes], row: Row) -> None:
        if self.rows % ROWS_PER_OFFSET == 0:
            self.offsets.append(self.size)
        line = row.line()
        stream.write(line)
        self.hash.update(line)
        self.rows += 1
        self.size += len(line)


WrittenSplits = dict[Split, WrittenSplit]


def write_splits(
    rows: Iterator[tuple[Split, Row]], kinds: Mapping[str, pa.DataType], folder: Path
) -> WrittenSplits:
    """The rows below ``folder``: a JSON Lines file a split, and its columns."""
    files = {
        split: WrittenSplit(folder / f"{split.label}.jsonl", folder / f"{split.label}.parquet")
        for split in Split
    }
    keys = dict(zip(KEYS_SCHEMA.names, KEYS_SCHEMA.types, strict=True))
    with ExitStack() as stack:
        streams = {split: stack.enter_context(file.path.open("wb")) for split, file in files.items()}
        columns = {
            split: stack.enter_context(closing(ColumnWriter(file.columns, keys if split.sealed else kinds)))
            for split, file in files.items()
        }
        for split, row in rows:
            files[split].add(streams[split], row)
            columns[split].add(row)
    return files


def hash_splits(files: WrittenSplits) -> str:
    """The content hash of a version: sha256 over the names and hashes of its splits."""
    text = "".join(f"{split.label}:{files[split].hash.hexdigest()}\n" for split in Split)
    return hashlib.sha256(text.encode()).hexdigest()


def store_splits(files: WrittenSplits, prefix: str) -> dict[str, dict[str, Any]]:
    """Copy the files into storage. Returns ``DatasetVersion.files``; keeps nothing if one copy fails."""
    stored: dict[str, dict[str, Any]] = {}
    try:
        for split, file in files.items():
            stored[split.label] = {
                "key": _copy(file.path, prefix),
                "sha256": file.hash.hexdigest(),
                "rows": file.rows,
                "bytes": file.size,
            }
            stored[split.label]["columns"] = _copy(file.columns, prefix)
    except BaseException:
        delete_splits(stored)
        raise
    return stored


def _copy(path: Path, prefix: str) -> str:
    with path.open("rb") as stream:
        return default_storage.save(f"{prefix}/{path.name}", File(stream))


def delete_splits(stored: dict[str, dict[str, Any]]) -> None:
    """Remove what ``store`` copied."""
    for file in stored.values():
        for key in (file["key"], file.get("columns")):
            if key:
                default_storage.delete(key)


def read_rows(version: DatasetVersion, split: str, places: Iterable[int]) -> list[dict[str, Any]]:
    """The rows at rising ``places`` (0-based); only what lies near them is read."""
    offsets, found = version.report["offsets"][split], []
    with default_storage.open(version.files[split]["key"]) as file:
        position = 0
        for place in places:
            if place // ROWS_PER_OFFSET > position // ROWS_PER_OFFSET:
                position = place // ROWS_PER_OFFSET * ROWS_PER_OFFSET
                file.seek(offsets[position // ROWS_PER_OFFSET])
            for _ in range(place - position):
                file.readline()
            found.append(json.loads(file.readline()))
            position = place + 1
    return found


def read_keys(version: DatasetVersion, split: Split) -> pa.Table:
    """``row_id`` and ``prompt_id`` of every row of a split, in its order."""
    file = version.files[split.label]
    if "columns" not in file:
        return _compute_keys(file) if file["rows"] else KEYS_SCHEMA.empty_table()
    with open_columns(file["columns"]) as columns:
        return columns.read(columns=KEYS)


def _compute_keys(file: Mapping[str, Any]) -> pa.Table:
    """The keys of a test split that was written before such splits had columns."""
    with default_storage.open(file["key"]) as lines:
        found = [
            {"row_id": bytes.fromhex(row["row_id"]), "prompt_id": hash_prompt(row["messages"])}
            for row in map(json.loads, lines)
        ]
    return pa.Table.from_pylist(found, schema=KEYS_SCHEMA)


def read_prompt_splits(version: DatasetVersion) -> dict[bytes, Split]:
    """The split of every prompt of a version, by ``prompt_digest``."""
    return {prompt: split for split in Split for prompt in read_keys(version, split)["prompt_id"].to_pylist()}


async def stream_chunks(key: str) -> AsyncIterator[bytes]:
    """The bytes of a stored file. Asynchronous, since an ASGI server would collect a plain iterator first."""
    file = await sync_to_async(default_storage.open)(key)
    try:
        while chunk := await sync_to_async(file.read)(CHUNK_BYTES):
            yield chunk
    finally:
        await sync_to_async(file.close)()
