"""Rows of a split: read and checked."""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workers.contract.spec import DataFile
from workers.engine import errors


class Item(dict[str, Any]):
    """What graders see beside the answer. ``task``, which they do not see, says whose grader it is."""

    def __init__(self, fields: dict[str, Any], task: str) -> None:
        super().__init__(fields)
        self.task = task


@dataclass(frozen=True)
class Row:
    """One prompt. ``item`` is what graders see beside the completion; ``tools`` are offered by the prompt."""

    row_id: str
    messages: list[dict[str, Any]]
    item: dict[str, Any]
    task: str = ""
    tools: list[dict[str, Any]] = field(default_factory=list)


def checked_path(file: DataFile, folder: Path) -> Path:
    """Where ``file`` lies; raises ``EngineError`` unless it is there and has the pinned sha256."""
    path = folder / file.path
    if not path.is_file():
        raise errors.file_missing(path)
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != file.sha256:
        raise errors.hash_differs(path, file.sha256, found)
    return path


def read_rows(path: Path) -> list[Row]:
    """The rows of a JSON Lines file. Raises ``EngineError`` with the line number of the first bad one."""
    with path.open(encoding="utf-8") as stream:
        return [_row(path, number, line) for number, line in enumerate(stream, start=1) if line.strip()]


def _row(path: Path, number: int, line: str) -> Row:
    try:
        value = json.loads(line)
        task = str(value.get("task", ""))
        item, tools = Item(value["item"], task), value.get("tools") or []
        row = Row(str(value["row_id"]), value["messages"], item, task, tools)
    except (ValueError, TypeError, KeyError) as error:
        raise errors.bad_row(
            path, number, f"not an object with row_id, messages and item ({error})"
        ) from error
    if not row.messages:
        raise errors.bad_row(path, number, "it has no messages")
    return row


def choose(rows: list[Row], limit: int, seed: int) -> list[Row]:
    """At most ``limit`` rows, the same ones for the same seed, in file order."""
    if len(rows) <= limit:
        return rows
    picked = sorted(random.Random(seed).sample(range(len(rows)), limit))  # noqa: S311 - not a secret
    return [rows[index] for index in picked]
