"""Which row goes where: by the hash of its prompt, so that equal prompts never stand in two splits.

The index of all rows lives in a temporary SQLite file, not in memory: about 60 bytes of disk a row, and a
few megabytes of cache however many rows there are.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings

from .limits import EXAMPLES_SHOWN
from .rows import Row, Split

LEAST_PROMPTS = 10  # with this many different prompts no split that was asked for stays empty
PRAGMAS = ("journal_mode = off", "synchronous = off", "cache_size = -16000")
SCHEMA = """
    create table rows (
        digest blob primary key, line integer, prompt blob, split integer, stated integer, excerpt text
    ) without rowid
"""
# A prompt that also stands in a more sealed split.
LEAKS = "exists (select 1 from rows as o where o.prompt = rows.prompt and o.split > rows.split)"


@dataclass(frozen=True)
class Shares:
    """Percent of the prompts held out for validation and for the sealed test; the rest is trained on."""

    validation: int = 10
    test: int = 10

    def split_of(self, prompt: bytes) -> Split:
        """The split of a prompt's digest; depends on nothing else, so it holds across versions."""
        position = int.from_bytes(prompt[:8]) / 2**64 * 100
        if position >= 100 - self.test:
            return Split.TEST
        return Split.VALIDATION if position >= 100 - self.test - self.validation else Split.TRAIN

    def wants(self, split: Split) -> bool:
        return (100 - self.validation - self.test, self.validation, self.test)[split] > 0


class Index:
    """Every different row of a file with its first line and its split."""

    def __init__(self, database: sqlite3.Connection, shares: Shares) -> None:
        self.database, self.shares = database, shares
        database.execute(SCHEMA)

    def add(self, row: Row, line: int) -> int | None:
        """Take the row in. Returns the line of its first copy if it is a duplicate."""
        prompt, stated = row.prompt_digest, row.split is not None
        split = self.shares.split_of(prompt) if row.split is None else row.split
        cursor = self.database.execute(
            "insert or ignore into rows values (?, ?, ?, ?, ?, ?)",
            (row.digest, line, prompt, int(split), stated, row.excerpt if stated else None),
        )
        if cursor.rowcount:
            return None
        return int(self._one("select line from rows where digest = ?", row.digest))

    def settle(self) -> int:
        """Fill a split that stayed empty though there are prompts enough. Returns how many prompts moved.

        The prompt that moves is the one nearest the end of the largest split, so the choice depends on the
        prompts alone.
        """
        self.database.execute("create index rows_by_prompt on rows (prompt, split)")
        if self._one("select count(distinct prompt) from rows where not stated") < LEAST_PROMPTS:
            return 0
        counts = self.counts()
        empty = [split for split in reversed(Split) if self.shares.wants(split) and not counts[split.label]]
        for split in empty:
            self._move_one(split)
        return len(empty)

    def _move_one(self, target: Split) -> None:
        donor = self._one(
            "select split from rows where not stated"
            " group by split order by count(distinct prompt) desc limit 1"
        )
        prompt = self._one("select max(prompt) from rows where not stated and split = ?", donor)
        self.database.execute(
            "update rows set split = ? where not stated and prompt = ?", (int(target), prompt)
        )

    def counts(self) -> dict[str, int]:
        """Rows in each split."""
        found = dict(self.database.execute("select split, count(*) from rows group by split"))
        return {split.label: found.get(int(split), 0) for split in Split}

    def stated(self) -> int:
        """How many rows name their split themselves."""
        return int(self._one("select count(*) from rows where stated"))

    def overlap(self) -> dict[str, Any]:
        """Prompts that stand in several splits, which only rows that name their split can cause."""
        shared = self.database.execute(
            "select prompt, max(excerpt) from rows group by prompt having min(split) <> max(split)"
            " order by min(line) limit ?",
            (EXAMPLES_SHOWN,),
        ).fetchall()
        return {
            "prompts": self._one(
                "select count(*) from (select 1 from rows group by prompt having min(split) <> max(split))"
            ),
            "rows": self._one(f"select count(*) from rows where {LEAKS}"),  # noqa: S608 - a constant
            "examples": [
                {"prompt": excerpt or "", "lines": self._lines(prompt)} for prompt, excerpt in shared
            ],
        }

    def _lines(self, prompt: bytes) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        query = "select split, line from rows where prompt = ? order by split, line limit 12"
        for split, line in self.database.execute(query, (prompt,)):
            found.setdefault(Split(split).label, []).append(line)
        return found

    def drop_overlap(self) -> int:
        """Keep a shared prompt in its most sealed split only. Returns the number of rows that went."""
        return self.database.execute(f"delete from rows where {LEAKS}").rowcount  # noqa: S608 - a constant

    def place(self, row: Row, line: int) -> Split | None:
        """The split of the row at this line; None if it is a duplicate or was dropped."""
        query = "select split from rows where digest = ? and line = ?"
        found = self.database.execute(query, (row.digest, line)).fetchone()
        return Split(found[0]) if found else None

    def _one(self, query: str, *values: object) -> Any:
        return self.database.execute(query, values).fetchone()[0]


@contextmanager
def open_index(shares: Shares) -> Iterator[Index]:
    """An index that is gone afterwards."""
    with tempfile.TemporaryDirectory(dir=settings.FILE_UPLOAD_TEMP_DIR, prefix="index-") as folder:
        database = sqlite3.connect(Path(folder) / "rows.sqlite", isolation_level=None)
        try:
            for pragma in PRAGMAS:
                database.execute(f"pragma {pragma}")
            database.execute("begin")
            yield Index(database, shares)
        finally:
            database.close()
