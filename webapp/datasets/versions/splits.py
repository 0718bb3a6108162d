"""Assign rows to splits by the hash of the prompt: equal prompts are in the same split.

With many prompts the hash alone decides. With few the shares are counted out in the order of the hashes,
because chance can leave a split almost empty (255 rows once gave 253, 1 and 1).

The index of all rows is a temporary SQLite file: about 60 bytes of disk per row, and a few megabytes of cache
for any number of rows.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from django.conf import settings

from webapp.datasets.content.limits import EXAMPLES_SHOWN
from webapp.datasets.content.rows import Row, Split
from webapp.datasets.reports import Overlap

COUNTED_PROMPTS = 1000  # below this many different prompts the shares are counted out
LEAST_HELD_OUT = 10  # prompts per held-out split whose share is not 0, but at most a fifth of all prompts
PRAGMAS = ("journal_mode = off", "synchronous = off", "cache_size = -16000")
SCHEMA = """
    create table rows (
        digest blob, line integer, prompt blob, split integer, stated integer, excerpt text,
        primary key (digest, split)
    ) without rowid
"""
# The prompt is also in a split that is held out longer.
LEAKS = "exists (select 1 from rows as o where o.prompt = rows.prompt and o.split > rows.split)"


@dataclass(frozen=True)
class Shares:
    """Percent of the prompts held out for validation and test; the rest is for training."""

    validation: int = 10
    test: int = 10

    def choose_split(self, prompt: bytes) -> Split:
        """Return the split for a prompt's hash.

        It depends on nothing else, so it holds across versions.
        """
        position = int.from_bytes(prompt[:8]) / 2**64 * 100
        if position >= 100 - self.test:
            return Split.TEST
        return Split.VALIDATION if position >= 100 - self.test - self.validation else Split.TRAIN

    def count_prompts(self, prompts: int) -> dict[Split, int]:
        """Return the number of prompts for each held-out split, out of ``prompts`` different ones."""
        least = min(LEAST_HELD_OUT, prompts // 5)
        shares = {Split.TEST: self.test, Split.VALIDATION: self.validation}
        return {split: max(prompts * share // 100, least) if share else 0 for split, share in shares.items()}


class SplitIndex:
    """The distinct rows of each split of a file with their first lines.

    Only rows whose line states their split can be in two splits.
    ``earlier`` gives the splits of prompts in the dataset's previous version; these prompts stay there.
    """

    def __init__(
        self, database: sqlite3.Connection, shares: Shares, earlier: Mapping[bytes, Split] | None = None
    ) -> None:
        self.database, self.shares, self.earlier = database, shares, earlier or {}
        self.counted = False
        database.execute(SCHEMA)

    def add(self, row: Row, line: int) -> int | None:
        """Add a row. Returns None, or the line of the first copy if the row is a duplicate."""
        prompt, stated = row.prompt_digest, row.split is not None
        if row.split is not None:
            split = row.split
        elif prompt in self.earlier:
            split = self.earlier[prompt]
        else:
            split = self.shares.choose_split(prompt)
        cursor = self.database.execute(
            "insert or ignore into rows values (?, ?, ?, ?, ?, ?)",
            (row.digest, line, prompt, int(split), stated, row.excerpt if stated else None),
        )
        if cursor.rowcount:
            return None
        query = "select line from rows where digest = ? and split = ?"
        return self._fetch_number(query, row.digest, int(split))

    def finish(self) -> None:
        """Make the splits final: with few prompts, count the shares out; the last hashes go to test."""
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
        # count_prompts lists test first, and the prompts come in descending order of their hashes.
        free = iter([prompt for prompt in prompts if prompt not in splits])
        for split, count in self.shares.count_prompts(len(prompts)).items():
            missing = count - sum(kept is split for kept in splits.values())
            splits |= dict.fromkeys(islice(free, max(missing, 0)), split)
        self.database.executemany(
            "update rows set split = ? where not stated and prompt = ?",
            [(int(splits.get(prompt, Split.TRAIN)), prompt) for prompt in prompts],
        )

    def get_split(self, digest: bytes) -> Split:
        """Return the split of a row that was added."""
        return Split(self._fetch_number("select split from rows where digest = ?", digest))

    def count_rows(self) -> dict[str, int]:
        """Return the number of rows in each split."""
        found = dict(self.database.execute("select split, count(*) from rows group by split"))
        return {split.label: found.get(int(split), 0) for split in Split}

    def count_stated(self) -> int:
        """Return the number of rows with their own ``split`` field."""
        return self._fetch_number("select count(*) from rows where stated")

    def find_overlap(self) -> Overlap:
        """Find prompts in several splits. Only rows with their own ``split`` field can cause this."""
        shared = self.database.execute(
            "select prompt, max(excerpt) from rows group by prompt having min(split) <> max(split)"
            " order by min(line) limit ?",
            (EXAMPLES_SHOWN,),
        ).fetchall()
        return {
            "prompts": self._fetch_number(
                "select count(*) from (select 1 from rows group by prompt having min(split) <> max(split))"
            ),
            "rows": self._fetch_number(f"select count(*) from rows where {LEAKS}"),  # noqa: S608 - a constant
            "examples": [
                {"prompt": excerpt or "", "lines": self._list_lines(prompt)} for prompt, excerpt in shared
            ],
        }

    def _list_lines(self, prompt: bytes) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        query = "select split, line from rows where prompt = ? order by split, line limit 12"
        for split, line in self.database.execute(query, (prompt,)):
            found.setdefault(Split(split).label, []).append(line)
        return found

    def drop_overlap(self) -> int:
        """Keep a shared prompt only in the split held out longest.

        Returns the number of deleted rows.
        """
        return self.database.execute(f"delete from rows where {LEAKS}").rowcount  # noqa: S608 - a constant

    def find_kept_split(self, row: Row, line: int) -> Split | None:
        """Return the split of the row at this line; None if it is a duplicate or was dropped."""
        query = "select split from rows where digest = ? and line = ?"
        found = self.database.execute(query, (row.digest, line)).fetchone()
        return Split(found[0]) if found else None

    def _fetch_number(self, query: str, *values: object) -> int:
        return int(self.database.execute(query, values).fetchone()[0])


@contextmanager
def open_index(shares: Shares, earlier: Mapping[bytes, Split] | None = None) -> Iterator[SplitIndex]:
    """Open an index that is deleted with the block."""
    with tempfile.TemporaryDirectory(dir=settings.FILE_UPLOAD_TEMP_DIR, prefix="index-") as folder:
        database = sqlite3.connect(Path(folder) / "rows.sqlite", isolation_level=None)
        try:
            for pragma in PRAGMAS:
                database.execute(f"pragma {pragma}")
            database.execute("begin")
            yield SplitIndex(database, shares, earlier)
        finally:
            database.close()
