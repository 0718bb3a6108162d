"""A version's files, one a split: written once with their hashes, read where one looks.

The splits that are not sealed have their columns beside them.
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

from .columns import ColumnWriter
from .limits import ROWS_PER_OFFSET
from .models import DatasetVersion
from .rows import Row, Split, prompt_digest

CHUNK_BYTES = 2**18


@dataclass
class Written:
    """One split's file on this machine. ``offsets`` holds the byte where every 500th row begins."""

    path: Path
    columns: Path | None = None
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


Files = dict[Split, Written]


def write(rows: Iterator[tuple[Split, Row]], kinds: Mapping[str, pa.DataType], folder: Path) -> Files:
    """The rows below ``folder``: a JSON Lines file a split, and the columns of each that is not sealed."""
    files = {split: Written(folder / f"{split.label}.jsonl") for split in Split}
    for split in Split:
        if not split.sealed:
            files[split].columns = folder / f"{split.label}.parquet"
    with ExitStack() as stack:
        streams = {split: stack.enter_context(file.path.open("wb")) for split, file in files.items()}
        columns = {
            split: stack.enter_context(closing(ColumnWriter(file.columns, kinds)))
            for split, file in files.items()
            if file.columns
        }
        for split, row in rows:
            files[split].add(streams[split], row)
            if split in columns:
                columns[split].add(row)
    return files


def fingerprint(files: Files) -> str:
    """The content hash of a version: sha256 over the names and hashes of its splits."""
    text = "".join(f"{split.label}:{files[split].hash.hexdigest()}\n" for split in Split)
    return hashlib.sha256(text.encode()).hexdigest()


def store(files: Files, prefix: str) -> dict[str, dict[str, Any]]:
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
            if file.columns:
                stored[split.label]["columns"] = _copy(file.columns, prefix)
    except BaseException:
        discard(stored)
        raise
    return stored


def _copy(path: Path, prefix: str) -> str:
    with path.open("rb") as stream:
        return default_storage.save(f"{prefix}/{path.name}", File(stream))


def discard(stored: dict[str, dict[str, Any]]) -> None:
    """Remove what ``store`` copied."""
    for file in stored.values():
        for key in (file["key"], file.get("columns")):
            if key:
                default_storage.delete(key)


def at(version: DatasetVersion, split: str, places: Iterable[int]) -> list[dict[str, Any]]:
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


def prompt_splits(version: DatasetVersion) -> dict[bytes, Split]:
    """The split of every prompt of a version, by ``prompt_digest``. Reads all its rows."""
    found: dict[bytes, Split] = {}
    for split in Split:
        with default_storage.open(version.files[split.label]["key"]) as file:
            found |= {prompt_digest(json.loads(line)["messages"]): split for line in file}
    return found


async def chunks(key: str) -> AsyncIterator[bytes]:
    """The bytes of a stored file. Asynchronous, since an ASGI server would collect a plain iterator first."""
    file = await sync_to_async(default_storage.open)(key)
    try:
        while chunk := await sync_to_async(file.read)(CHUNK_BYTES):
            yield chunk
    finally:
        await sync_to_async(file.close)()
