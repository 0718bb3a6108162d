"""A cache of verdicts, by the hash of everything that they depend on."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from pathlib import Path
from typing import Any

FILE = "verdicts.sqlite3"
BUSY_SECONDS = 30.0


def build_key(*asked: Any) -> str:
    """Return the hash of everything that a verdict depends on, in hex."""
    text = json.dumps(asked, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class VerdictCache:
    """A table on disk from key to verdict, shared by the processes of a node; empty without a folder."""

    def __init__(self, folder: Path | None) -> None:
        self._connection: sqlite3.Connection | None = None
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                folder / FILE, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._connection.execute("pragma journal_mode = wal")
            self._connection.execute("create table if not exists verdicts (key text primary key, value text)")

    def get(self, key: str) -> Any | None:
        """Return the verdict, or ``None``."""
        if self._connection is None:
            return None
        row = self._connection.execute("select value from verdicts where key = ?", [key]).fetchone()
        return json.loads(row[0]) if row else None

    def put(self, key: str, verdict: Any) -> None:
        """Store a verdict, unless there is one."""
        if self._connection is not None:
            self._connection.execute(
                "insert or ignore into verdicts values (?, ?)", [key, json.dumps(verdict)]
            )

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
