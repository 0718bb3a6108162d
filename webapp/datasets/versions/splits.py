"""Assign rows to splits by the hash of their prompts, so that equal prompts never stand in two splits.

With many prompts the hash alone decides. With few the shares are counted out in the order of the hashes,
since chance would leave a split of one row (255 rows once gave 253, 1 and 1).

The index of all rows lives in a temporary SQLite file, not in memory: about 60 bytes of disk a row, and a
few megabytes of cache however many rows there are.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from django.conf import settings

from webapp.datasets.content.limits import EXAMPLES_SHOWN
from webapp.datasets.content.rows import Row, Split

COUNTED_PROMPTS = 1000  # below this many different prompts the shares are counted out
LEAST_HELD_OUT = 10  # prompts in each held-out split that was asked for, but never more than a fifth of all
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

    def counts(self, prompts: int) -> dict[Split, int]:
        """Prompts of each held-out split where ``prompts`` different ones are counted out."""
        least = min(LEAST_HELD_OUT, prompts // 5)
        shares = {Split.TEST: self.test, Split.VALIDATION: self.validation}
        return {split: max(prompts * share // 100, least) if share else 0 for split, share in shares.items()}


class SplitIndex:
    """Every different row of a file with its first line and its split.

    ``earlier`` holds the splits of prompts in the dataset's version before: they stay where they are.
    """

    def __init__(
        self, database: sqlite3.Connection, shares: Shares, earlier: Mapping[bytes, Split] | None = None
    ) -> None:
        self.database, self.shares, self.earlier = database, shares, earlier or {}
        self.counted = False
        database.execute(SCHEMA)

    def add(self, row: Row, line: int) -> int | None:
        """Take the row in. Returns the line of its first copy if it is a duplicate."""
        prompt, stated = row.prompt_digest, row.split is not None
        split = self._expected(prompt) if row.split is None else row.split
        cursor = self.database.execute(
            "insert or ignore into rows values (?, ?, ?, ?, ?, ?)",
            (row.digest, line, prompt, int(split), stated, row.excerpt if stated else None),
        )
        if cursor.rowcount:
            return None
        return int(self._one("select line from rows where digest = ?", row.digest))

    def _expected(self, prompt: bytes) -> Split:
        return self.earlier[prompt] if prompt in self.earlier else self.shares.split_of(prompt)

    def settle(self) -> None:
        """Count the shares out where there are few prompts: the last hashes go to the test split."""
        self.database.execute("create index rows_by_prompt on rows (prompt, split)")
        few = self.database.execute(
            "select distinct prompt from rows where not stated order by prompt desc limit ?",
            (COUNTED_PROMPTS,),
        ).fetchall()
        self.counted = 0 < len(few) < COUNTED_PROMPTS
        if self.counted:
            self._count_out([prompt for (prompt,) in few])

    def _count_out(self, prompts: list[bytes]) -> None:
        splits = {prompt: self.earlier[prompt] for prompt in prompts if prompt in self.earlier}
        free = iter([prompt for prompt in prompts if prompt not in splits])
        for split, count in self.shares.counts(len(prompts)).items():
            missing = count - sum(kept is split for kept in splits.values())
            splits |= dict.fromkeys(islice(free, max(missing, 0)), split)
        self.database.executemany(
            "update rows set split = ? where not stated and prompt = ?",
            [(int(splits.get(prompt, Split.TRAIN)), prompt) for prompt in prompts],
        )

    def split_of(self, digest: bytes) -> Split:
        """The split of a row that was taken in."""
        return Split(self._one("select split from rows where digest = ?", digest))

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
def open_index(shares: Shares, earlier: Mapping[bytes, Split] | None = None) -> Iterator[SplitIndex]:
    """An index that is gone afterwards."""
    with tempfile.TemporaryDirectory(dir=settings.FILE_UPLOAD_TEMP_DIR, prefix="index-") as folder:
        database = sqlite3.connect(Path(folder) / "rows.sqlite", isolation_level=None)
        try:
            for pragma in PRAGMAS:
                database.execute(f"pragma {pragma}")
            database.execute("begin")
            yield SplitIndex(database, shares, earlier)
        finally:
            database.close()
