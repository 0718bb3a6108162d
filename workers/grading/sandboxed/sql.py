"""Runs inside the sandbox: compares the rows of two queries on every database."""

import re
import sqlite3
import time
from collections import Counter
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

from sqlparse import lexer, tokens

from workers.grading.fences import fenced_blocks, last_block, outside_blocks, without_backticks
from workers.grading.sandboxed.verdicts import Verdict, build_verdict
from workers.grading.thoughts import split_thoughts

CONFIG: Any = {}
BUILD_SECONDS, QUERY_SECONDS = 10.0, 2.0
HANDLER_STEPS = 10_000
MAX_ROWS, MAX_CELL_BYTES = 10_000, 100_000
HEAP_BYTES, DATABASE_PAGES = 512 << 20, 16_384
# Two numbers are equal if they differ by no more than each of these, or by the noise of floating point.
MOST_APART, MOST_APART_RELATIVE = 1e-4, 1e-4
NOISE, NOISE_RELATIVE = 1e-12, 1e-9
QUERY_CHARACTERS = 1_000

READING = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
# Refused: the same query must always return the same rows.
RANDOM_FUNCTIONS = {"random", "randomblob"}
SQL_TAGS = {
    "sql", "sqlite", "sqlite3", "postgresql", "postgres", "psql", "pgsql", "mysql", "mariadb", "duckdb",
    "tsql", "mssql", "plsql", "plpgsql", "snowflake", "bigquery", "sparksql",
}  # fmt: skip
STARTS_QUERY = re.compile(r"\s*(?:--[^\n]*\n\s*)*\(?\s*(?:SELECT|WITH|VALUES)\b", re.IGNORECASE)
tokenize: Any = lexer.tokenize
ORDER_BY = re.compile(r"ORDER\s+BY", re.IGNORECASE)
DIRECTION = re.compile(r"(?:\s+(?:ASC|DESC))?(?:\s+NULLS\s+(?:FIRST|LAST))?\s*$", re.IGNORECASE)
LIMIT = re.compile(r"\s*(\d+)\s*(?:(,)\s*(\d+)|OFFSET\s+(\d+))?\s*;?\s*$", re.IGNORECASE)


class Failed(Exception):
    """A script or a query does not run; the message says why."""


class Rows(NamedTuple):
    names: list[str]
    rows: list[tuple[Any, ...]]


class Clauses(NamedTuple):
    """The clauses of a query that decide its order, outside of brackets.

    ``select`` ends at ``source``, the position of its FROM; it is empty in a compound query. ``limit`` is
    (first row, number of rows).
    """

    select: str
    source: int
    order: list[str]
    unlimited: str
    limit: tuple[int, int] | None


class ExpectedRows(NamedTuple):
    """The rows of the reference. ``groups`` are (number of rows to take, rows to take them from), in order.

    Rows that are equal by its ORDER BY form a group; without ORDER BY all rows form one. ``note`` says what
    the reference leaves open.
    """

    columns: int
    groups: list[tuple[int, list[tuple[Any, ...]]]]
    note: str

    @property
    def size(self) -> int:
        return sum(taken for taken, _ in self.groups)


class Database:
    """A read-only database in memory, built by a script."""

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
        self._run_within(BUILD_SECONDS, lambda: self._connection.executescript(script))
        self._connection.commit()
        self._connection.execute("PRAGMA query_only=ON")
        self._connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_CELL_BYTES)
        self._connection.setlimit(sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 100)
        self._connection.set_authorizer(authorize)

    def rows(self, query: str, most: int, seconds: float) -> Rows:
        """Return the rows of the query, at most ``most``. Raises ``Failed``."""
        found: Rows = self._run_within(seconds, lambda: self._run(query, most))
        return found

    def _run(self, query: str, most: int) -> Rows:
        cursor = self._connection.execute(query)
        if cursor.description is None:
            raise Failed("there is no query that returns rows")
        return Rows([each[0] for each in cursor.description], cursor.fetchmany(most))

    def _run_within(self, seconds: float, run: Any) -> Any:
        self._deadline = time.monotonic() + seconds
        try:
            return run()
        except MemoryError as error:
            raise Failed("it needs too much memory") from error
        except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError) as error:
            late = time.monotonic() > self._deadline
            raise Failed(f"it takes more than {seconds:g} seconds" if late else describe(error)) from error

    def _late(self) -> bool:
        return time.monotonic() > self._deadline


def authorize(action: int, _first: str | None, second: str | None, *_: str | None) -> int:
    is_random = action == sqlite3.SQLITE_FUNCTION and (second or "").lower() in RANDOM_FUNCTIONS
    return sqlite3.SQLITE_OK if action in READING and not is_random else sqlite3.SQLITE_DENY


def describe(error: Exception) -> str:
    denied = any(word in str(error) for word in ("authoriz", "prohibited"))
    return f"{error} (a query may only read, and nothing at random)" if denied else str(error)


def build_database(number: int, script: str) -> Database | str:
    """Return the database, or why it cannot be built."""
    try:
        return Database(script)
    except Failed as failure:
        return f"database {number} cannot be built: {failure}"


DATABASES = [build_database(number, script) for number, script in enumerate(CONFIG["databases"], 1)]
BROKEN = [each for each in DATABASES if isinstance(each, str)]
READY = [each for each in DATABASES if isinstance(each, Database)]


def grade(sample: dict[str, Any], item: dict[str, str]) -> Verdict:
    try:
        if BROKEN:
            raise Failed(BROKEN[0])
        expected = run_reference(extract_query(item["reference"]))
    except Failed as failure:
        return build_verdict(None, str(failure), "other_error")
    query = extract_query(split_thoughts(sample["output_text"])[1])
    result = compare_query(query, expected)
    if query != sample["output_text"].strip():
        result["detail"] = "\n".join(filter(None, [result["detail"], f"run: {query[:QUERY_CHARACTERS]}"]))
    return result


def extract_query(text: str) -> str:
    """Return the last block of SQL, else the last other block that begins as a query, else the text."""
    tagged = last_block(text, SQL_TAGS)
    if tagged is not None:
        return tagged.strip()
    plain = [block.body for block in fenced_blocks(text) if not block.tag and block.body.strip()]
    queries = [body for body in plain if STARTS_QUERY.match(body)]
    query = (queries or plain or [outside_blocks(text)])[-1]
    return without_backticks(query.strip()).strip()


@lru_cache(maxsize=64)
def run_reference(reference: str) -> list[ExpectedRows]:
    """Return the rows of the reference query on each database. Raises ``Failed``."""
    results = []
    for number, database in enumerate(READY, 1):
        try:
            found = database.rows(reference, MAX_ROWS + 1, QUERY_SECONDS / len(READY))
        except Failed as failure:
            raise Failed(f"the reference query fails on database {number}: {failure}") from failure
        if len(found.rows) > MAX_ROWS:
            raise Failed(f"the reference query returns more than {MAX_ROWS} rows on database {number}")
        results.append(group_rows(database, reference, found))
    return results


def compare_query(query: str, expected: list[ExpectedRows]) -> Verdict:
    """Return the verdict on a query that should return the ``expected`` rows."""
    parts: dict[str, float] = {}
    differs: list[str] = []
    notes: list[str] = []
    for number, (database, rows) in enumerate(zip(READY, expected, strict=True), 1):
        try:
            found = database.rows(query, rows.size + 1, QUERY_SECONDS / len(READY))
        except Failed as failure:
            return build_verdict(0.0, f"the query does not run on database {number}: {failure}")
        difference = find_difference(found, rows)
        parts[f"database_{number}"] = 0.0 if difference else 1.0
        differs += [f"database {number}: {difference}"] if difference else []
        notes += [f"database {number}: {rows.note}"] if rows.note else []
    reward = CONFIG["partial"] if differs else 1.0
    return build_verdict(reward, "\n".join(differs + notes), None, parts)


def find_difference(found: Rows, expected: ExpectedRows) -> str:
    """Return how the rows differ; empty if they are the same."""
    if len(found.names) != expected.columns:
        return f"{len(found.names)} columns, the reference has {expected.columns}"
    if len(found.rows) > expected.size:
        return f"more than the {expected.size} rows of the reference"
    if len(found.rows) < expected.size:
        return f"{len(found.rows)} rows, the reference has {expected.size}"
    start = 0
    for taken, rows in expected.groups:
        if not are_taken_from(found.rows[start : start + taken], rows):
            everything = [row for _, group in expected.groups for row in group]
            if len(expected.groups) > 1 and are_taken_from(found.rows, everything):
                return "another order than the reference"
            return "other rows than the reference"
        start += taken
    return ""


# --- rows ------------------------------------------------------------------------------------------


def are_taken_from(rows: list[tuple[Any, ...]], pool: list[tuple[Any, ...]]) -> bool:
    """Return True if every row is in ``pool``, at most as often as there."""
    if not Counter(rows) - Counter(pool):
        return True
    left: dict[Any, list[tuple[Any, ...]]] = {}
    for row in pool:
        left.setdefault(find_words(row), []).append(row)
    for group in left.values():
        group.sort(key=find_numbers)
    return all(take_equal(row, left.get(find_words(row), [])) for row in sorted(rows, key=find_numbers))


def take_equal(row: tuple[Any, ...], group: list[tuple[Any, ...]]) -> bool:
    """Remove the first row of the group with equal numbers. Return False if there is none."""
    for at, other in enumerate(group[:MOST_TRIED]):
        if all(map(same, row, other)):
            del group[at]
            return True
    return False


MOST_TRIED = 64


def find_words(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(None if isinstance(value, int | float) else (value,) for value in row)


def find_numbers(row: tuple[Any, ...]) -> tuple[float, ...]:
    return tuple(value for value in row if isinstance(value, int | float))


def same(first: Any, second: Any) -> bool:
    """Compare whole numbers and texts exactly, other numbers within a relative and an absolute tolerance."""
    if not (isinstance(first, float) or isinstance(second, float)) or not find_numbers((first, second))[1:]:
        return bool(first == second)
    apart, size = abs(first - second), max(abs(first), abs(second))
    if apart <= NOISE or apart <= NOISE_RELATIVE * size or first == second:
        return True
    return bool(apart <= MOST_APART and apart <= MOST_APART_RELATIVE * size)


# --- what the reference leaves open ----------------------------------------------------------------


def group_rows(database: Database, reference: str, found: Rows) -> ExpectedRows:
    """The reference's rows in groups of equal keys; in one group if nothing orders them."""
    clauses = clauses_of(reference)
    one = [(len(found.rows), found.rows)] if found.rows else []
    if not clauses.order:
        open_limit = clauses.limit is not None and len(found.rows) == clauses.limit[1] > 0
        return ExpectedRows(len(found.names), one, LIMIT_WITHOUT_ORDER if open_limit else "")
    try:
        rows, keys = read_keyed_rows(database, clauses, found)
    except Failed:
        return ExpectedRows(len(found.names), [(1, [row]) for row in found.rows], "")
    first = clauses.limit[0] if clauses.limit else 0
    groups, note = [], ""
    for start, end in runs(keys):
        taken_rows = min(end, first + len(found.rows)) - max(start, first)
        if taken_rows > 0:
            groups.append((taken_rows, rows[start:end]))
            note = note or (TIE_AT_LIMIT if taken_rows < end - start else "")
    return ExpectedRows(len(found.names), groups, note)


LIMIT_WITHOUT_ORDER = "the reference has LIMIT without ORDER BY, which leaves open which rows it gives"
TIE_AT_LIMIT = (
    "the reference's LIMIT cuts rows that its ORDER BY leaves equal; any of them fit. Add a column to "
    "ORDER BY to decide"
)


def runs(keys: list[tuple[Any, ...]]) -> list[tuple[int, int]]:
    """Yield where equal keys begin and end."""
    starts = [at for at in range(len(keys)) if at == 0 or keys[at] != keys[at - 1]]
    return list(zip(starts, [*starts[1:], len(keys)], strict=True))


def read_keyed_rows(
    database: Database, clauses: Clauses, found: Rows
) -> tuple[list[tuple[Any, ...]], list[Any]]:
    """Return all rows of the reference without its LIMIT, and the keys that order them.

    A key is a column of the result by number or name, else the term itself, selected beside the others.
    Raises ``Failed`` where that cannot be told.
    """
    names = [name.casefold() for name in found.names]
    columns = [column_of(term, names) for term in clauses.order]
    extra = [term for term, column in zip(clauses.order, columns, strict=True) if column is None]
    query = clauses.unlimited
    if extra:
        if not clauses.select or re.match(r"\s*SELECT\s+DISTINCT\b", clauses.select, re.IGNORECASE):
            raise Failed("its keys are not in the result")
        before, behind = query[: clauses.source].rstrip(), query[clauses.source :]
        query = f"{before}, {', '.join(extra)} {behind}"
    rows = database.rows(query, MAX_ROWS + 1, QUERY_SECONDS / len(READY)).rows
    width, added = len(found.names), iter(range(len(found.names), len(found.names) + len(extra)))
    places = [next(added) if column is None else column for column in columns]
    plain = [row[:width] for row in rows]
    start = clauses.limit[0] if clauses.limit else 0
    if plain[start : start + len(found.rows)] != found.rows:
        raise Failed("it gives other rows without its LIMIT")
    return plain, [tuple(row[place] for place in places) for row in rows]


def column_of(term: str, names: list[str]) -> int | None:
    """The position of the result's column that a term of ORDER BY names, if it names one."""
    if term.isdigit():
        return int(term) - 1 if 0 < int(term) <= len(names) else None
    name = re.sub(r'["`\[\]]', "", term).split(".")[-1].strip().casefold()
    return names.index(name) if re.fullmatch(r"\w+", name) and names.count(name) == 1 else None


@lru_cache(maxsize=64)
def clauses_of(query: str) -> Clauses:
    """The parts of the whole query that decide an order; a query in brackets has its own."""
    starts = {"SELECT": -1, "FROM": -1, "ORDER": -1, "LIMIT": -1}
    ends, commas, at, depth, compound = -1, [], 0, 0, False
    for kind, word in tokenize(query):
        if kind is tokens.Punctuation:
            depth += (word == "(") - (word == ")")
        key = "ORDER" if ORDER_BY.fullmatch(word) else word.upper()
        if depth == 0 and kind in tokens.Keyword:
            compound = compound or key.split()[0] in ("UNION", "INTERSECT", "EXCEPT")
            if key in starts and (key != "FROM" or starts["FROM"] < 0):
                starts[key], ends = at, at + len(word) if key == "ORDER" else ends
        if depth == 0 and word == "," and starts["ORDER"] >= 0 > starts["LIMIT"]:
            commas.append(at)
        at += len(word)
    return _clauses(query.rstrip().rstrip(";"), starts, ends, commas, compound)


def _clauses(query: str, starts: dict[str, int], after: int, commas: list[int], compound: bool) -> Clauses:
    limited = starts["LIMIT"] if starts["LIMIT"] > starts["ORDER"] else -1
    unlimited = query[:limited] if limited >= 0 else query
    limit = LIMIT.match(query[limited + len("LIMIT") :]) if limited >= 0 else None
    order = []
    if starts["ORDER"] >= 0:
        cuts = [after, *(comma + 1 for comma in commas), len(unlimited) + 1]
        order = [DIRECTION.sub("", unlimited[a : b - 1]).strip() for a, b in pairwise(cuts)]
    from_at = starts["FROM"] if not compound else -1
    select = query[starts["SELECT"] : from_at] if 0 <= starts["SELECT"] < from_at else ""
    return Clauses(select, from_at, order, unlimited, _limit(limit))


def _limit(match: re.Match[str] | None) -> tuple[int, int] | None:
    """Return (first row, number of rows) of ``LIMIT 5``, ``LIMIT 5 OFFSET 10`` or ``LIMIT 10, 5``."""
    if match is None:
        return None
    return (int(match[1]), int(match[3])) if match[2] else (int(match[4] or 0), int(match[1]))
