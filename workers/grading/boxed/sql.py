"""Runs inside the sandbox: whether two queries give the same rows on every database."""

import re
import sqlite3
import time
from collections import Counter
from functools import lru_cache
from typing import Any, NamedTuple

from sqlparse import lexer, tokens

CONFIG: dict[str, Any] = {}
BUILD_SECONDS, QUERY_SECONDS = 10.0, 2.0
HANDLER_STEPS = 10_000
MAX_ROWS, MAX_CELL_BYTES = 10_000, 100_000
HEAP_BYTES, DATABASE_PAGES = 512 << 20, 16_384
DECIMALS = 4

READING = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
# The same query must always give the same.
BY_CHANCE = {"random", "randomblob"}
FENCED = re.compile(r"```(?:sql|sqlite)?[ \t]*\n(.*?)```", re.DOTALL | re.IGNORECASE)
tokenize: Any = lexer.tokenize
ORDER_BY = re.compile(r"ORDER\s+BY", re.IGNORECASE)


class Failed(Exception):
    """A script or a query does not run; the message says why."""


class Rows(NamedTuple):
    columns: int
    rows: list[tuple[Any, ...]]


class Database:
    """An in-memory database that a script has built and that can be read only."""

    def __init__(self, script: str) -> None:
        self._connection = sqlite3.connect(":memory:", isolation_level=None)
        self._deadline = 0.0
        self._connection.set_progress_handler(self._late, HANDLER_STEPS)
        self._connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        self._connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, len(script.encode()) + MAX_CELL_BYTES)
        for pragma in (
            "temp_store=MEMORY",
            f"max_page_count={DATABASE_PAGES}",
            f"hard_heap_limit={HEAP_BYTES}",
        ):
            self._connection.execute(f"PRAGMA {pragma}")
        self._guarded(BUILD_SECONDS, lambda: self._connection.executescript(script))
        self._connection.commit()
        self._connection.execute("PRAGMA query_only=ON")
        self._connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_CELL_BYTES)
        self._connection.setlimit(sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 100)
        self._connection.set_authorizer(allowed)

    def rows(self, query: str, most: int, seconds: float) -> Rows:
        """What the query gives, ``most`` rows at most. Raises ``Failed``."""
        found: Rows = self._guarded(seconds, lambda: self._run(query, most))
        return found

    def _run(self, query: str, most: int) -> Rows:
        cursor = self._connection.execute(query)
        if cursor.description is None:
            raise Failed("there is no query that gives rows")
        return Rows(len(cursor.description), [tuple(map(rounded, row)) for row in cursor.fetchmany(most)])

    def _guarded(self, seconds: float, run: Any) -> Any:
        self._deadline = time.monotonic() + seconds
        try:
            return run()
        except MemoryError as error:
            raise Failed("it needs too much memory") from error
        except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError) as error:
            late = time.monotonic() > self._deadline
            raise Failed(f"it takes more than {seconds:g} seconds" if late else told(error)) from error

    def _late(self) -> bool:
        return time.monotonic() > self._deadline


def allowed(action: int, _first: str | None, second: str | None, *_: str | None) -> int:
    by_chance = action == sqlite3.SQLITE_FUNCTION and (second or "").lower() in BY_CHANCE
    return sqlite3.SQLITE_OK if action in READING and not by_chance else sqlite3.SQLITE_DENY


def told(error: Exception) -> str:
    denied = any(word in str(error) for word in ("authoriz", "prohibited"))
    return f"{error} (a query may only read, and nothing at random)" if denied else str(error)


def rounded(value: Any) -> Any:
    return round(value, DECIMALS) if isinstance(value, float) else value


def built(number: int, script: str) -> Database | str:
    """The database, or why there is none."""
    try:
        return Database(script)
    except Failed as failure:
        return f"database {number} cannot be built: {failure}"


DATABASES = [built(number, script) for number, script in enumerate(CONFIG["databases"], 1)]
BROKEN = [each for each in DATABASES if isinstance(each, str)]
READY = [each for each in DATABASES if isinstance(each, Database)]


def grade(sample: dict[str, Any], item: dict[str, Any]) -> dict[str, Any]:
    try:
        if BROKEN:
            raise Failed(BROKEN[0])
        expected = given(unfenced(item["reference"]))
    except Failed as failure:
        return verdict(None, {}, "other_error", str(failure))
    return compared(unfenced(sample["output_text"]), expected, in_order(unfenced(item["reference"])))


@lru_cache(maxsize=64)
def given(reference: str) -> list[Rows]:
    """What the reference query gives on each database. Raises ``Failed``."""
    results = []
    for number, database in enumerate(READY, 1):
        try:
            results.append(database.rows(reference, MAX_ROWS + 1, QUERY_SECONDS / len(READY)))
        except Failed as failure:
            raise Failed(f"the reference query fails on database {number}: {failure}") from failure
        if len(results[-1].rows) > MAX_ROWS:
            raise Failed(f"the reference query gives more than {MAX_ROWS} rows on database {number}")
    return results


def compared(query: str, expected: list[Rows], ordered: bool) -> dict[str, Any]:
    """The verdict on a query that should give ``expected``."""
    parts: dict[str, float] = {}
    differs: list[str] = []
    for number, (database, wanted) in enumerate(zip(READY, expected, strict=True), 1):
        try:
            found = database.rows(query, len(wanted.rows) + 1, QUERY_SECONDS / len(READY))
        except Failed as failure:
            return verdict(0.0, {}, None, f"the query does not run on database {number}: {failure}")
        difference = different(found, wanted, ordered)
        parts[f"database_{number}"] = 0.0 if difference else 1.0
        differs += [f"database {number}: {difference}"] if difference else []
    return verdict(CONFIG["partial"] if differs else 1.0, parts, None, "\n".join(differs))


def different(found: Rows, wanted: Rows, ordered: bool) -> str:
    """In what they differ; empty if they are the same."""
    if found.columns != wanted.columns:
        return f"{found.columns} columns, the reference gives {wanted.columns}"
    if len(found.rows) > len(wanted.rows):
        return f"more than the {len(wanted.rows)} rows of the reference"
    if len(found.rows) < len(wanted.rows):
        return f"{len(found.rows)} rows, the reference gives {len(wanted.rows)}"
    if Counter(found.rows) != Counter(wanted.rows):
        return "other rows than the reference"
    return "another order than the reference" if ordered and found.rows != wanted.rows else ""


def verdict(
    reward: float | None, parts: dict[str, float], error_class: str | None, detail: str
) -> dict[str, Any]:
    return {"reward": reward, "sub_rewards": parts, "error_class": error_class, "detail": detail}


def unfenced(text: str) -> str:
    """The last fenced block of SQL, if there is one."""
    blocks: list[str] = FENCED.findall(text)
    return (blocks or [text])[-1].strip()


def in_order(query: str) -> bool:
    """Whether the query as a whole, not a part in brackets, says ORDER BY."""
    depth = 0
    for kind, word in tokenize(query):
        if kind is tokens.Punctuation:
            depth += (word == "(") - (word == ")")
        elif depth == 0 and kind in tokens.Keyword and ORDER_BY.fullmatch(word):
            return True
    return False
