"""Rows of a split, read and checked."""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import dataclass, field
from pathlib import Path

from workers.contract.json_types import JsonObject, JsonValue
from workers.contract.spec import DataFile
from workers.engine import errors


class Item(dict[str, JsonValue]):
    """Fields of a row for graders. They do not see ``task``, which selects the grader."""

    def __init__(self, fields: JsonObject, task: str) -> None:
        super().__init__(fields)
        self.task = task


@dataclass(frozen=True)
class Row:
    """One prompt. ``item`` holds the fields for graders; the prompt offers ``tools``."""

    row_id: str
    messages: list[JsonObject]
    item: JsonObject
    task: str = ""
    tools: list[JsonObject] = field(default_factory=list)


def find_file(file: DataFile, folder: Path) -> Path:
    """Return the path of ``file``. Raises ``EngineError`` unless it exists and has the pinned sha256."""
    path = folder / file.path
    if not path.is_file():
        raise errors.file_missing(path)
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != file.sha256:
        raise errors.hash_differs(path, file.sha256, found)
    return path


def read_rows(path: Path) -> list[Row]:
    """Read a JSON Lines file. Raises ``EngineError`` with the line number of the first bad row."""
    with path.open(encoding="utf-8") as stream:
        return [_parse_row(path, number, line) for number, line in enumerate(stream, start=1) if line.strip()]


def _parse_row(path: Path, number: int, line: str) -> Row:
    try:
        value = json.loads(line)
        task = str(value.get("task", ""))
        item, tools = Item(value["item"], task), value.get("tools") or []
        row = Row(str(value["row_id"]), value["messages"], item, task, tools)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise errors.bad_row(
            path, number, f"not an object with row_id, messages and item ({error})"
        ) from error
    if not row.messages:
        raise errors.bad_row(path, number, "it has no messages")
    return row


def sample_rows(rows: list[Row], limit: int, seed: int) -> list[Row]:
    """Return at most ``limit`` rows, the same ones for the same seed, in file order."""
    if len(rows) <= limit:
        return rows
    indices = sorted(random.Random(seed).sample(range(len(rows)), limit))  # noqa: S311 - not a secret
    return [rows[index] for index in indices]
