"""A version's three files: written once with their hashes, read a page at a time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from asgiref.sync import sync_to_async
from django.core.files import File
from django.core.files.storage import default_storage

from .limits import ROWS_PER_OFFSET
from .rows import Row, Split

CHUNK_BYTES = 2**18


@dataclass
class Written:
    """One split's file on this machine. ``offsets`` holds the byte where every 500th row begins."""

    path: Path
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


def write(rows: Iterator[tuple[Split, Row]], folder: Path) -> Files:
    """The rows as one JSON Lines file a split below ``folder``."""
    files = {split: Written(folder / f"{split.label}.jsonl") for split in Split}
    with ExitStack() as stack:
        streams = {split: stack.enter_context(file.path.open("wb")) for split, file in files.items()}
        for split, row in rows:
            files[split].add(streams[split], row)
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
            with file.path.open("rb") as stream:
                key = default_storage.save(f"{prefix}/{split.label}.jsonl", File(stream))
            stored[split.label] = {
                "key": key,
                "sha256": file.hash.hexdigest(),
                "rows": file.rows,
                "bytes": file.size,
            }
    except BaseException:
        discard(stored)
        raise
    return stored


def discard(stored: dict[str, dict[str, Any]]) -> None:
    """Remove what ``store`` copied."""
    for file in stored.values():
        default_storage.delete(file["key"])


def page(key: str, offsets: list[int], first: int, count: int) -> list[dict[str, Any]]:
    """Rows ``first`` to ``first + count`` (0-based) of a stored file; only what lies near them is read."""
    block = first // ROWS_PER_OFFSET
    if block >= len(offsets):
        return []
    with default_storage.open(key) as file:
        file.seek(offsets[block])
        for _ in range(first % ROWS_PER_OFFSET):
            file.readline()
        lines = [file.readline() for _ in range(count)]
    return [json.loads(line) for line in lines if line]


def rows_of(key: str) -> Iterator[dict[str, Any]]:
    """Every row of a stored file, one at a time."""
    with default_storage.open(key) as file:
        for line in file:
            yield json.loads(line)


async def chunks(key: str) -> AsyncIterator[bytes]:
    """The bytes of a stored file. Asynchronous, since an ASGI server would collect a plain iterator first."""
    file = await sync_to_async(default_storage.open)(key)
    try:
        while chunk := await sync_to_async(file.read)(CHUNK_BYTES):
            yield chunk
    finally:
        await sync_to_async(file.close)()
