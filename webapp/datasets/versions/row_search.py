"""Search the rows of a split by the filters in a query string."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import reduce

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from django.http import QueryDict

from webapp.datasets.versions.columns import read_column_types

Test = Callable[[pa.RecordBatch], pa.Array]
RANGE = ".."


@dataclass(frozen=True)
class Filter:
    """One condition. ``kind`` is a key of TESTS, ``column`` a column of the file."""

    kind: str
    column: str
    text: str

    @property
    def name(self) -> str:
        """The name of its parameter in a query string."""
        return f"{self.kind}:{self.column}"


def parse_filters(query: QueryDict) -> list[Filter]:
    """Parse the filters in a query string, and ignore its other parameters.

    Filters: ``is:COLUMN=value``, ``between:COLUMN=low..high``, ``length:COLUMN=low..high``, ``none:COLUMN=``.
    """
    found = []
    for name, values in query.lists():
        kind, _, column = name.partition(":")
        if kind in TESTS and column:
            found += [Filter(kind, column, value) for value in values]
    return found


def encode_search(query: QueryDict) -> str:
    """Return the search and the filters of a query string, for links to rows."""
    kept = QueryDict(mutable=True)
    if text := query.get("q", "").strip():
        kept["q"] = text
    for each in parse_filters(query):
        kept.appendlist(each.name, each.text)
    return kept.urlencode()


def find_positions(columns: pq.ParquetFile, text: str, filters: Iterable[Filter]) -> pa.ChunkedArray:
    """Return ascending 0-based positions of rows that contain ``text`` and meet every filter.

    The text is searched in the prompt and in every text field, in any case. A filter that cannot be parsed,
    or whose column is missing, matches no row: a wrong link must not show wrong rows.
    """
    types, needed, tests = read_column_types(columns), set[str](), list[Test]()
    for each in filters:
        test = TESTS[each.kind](each.column, each.text, types.get(each.column))
        if test is None:
            return pa.chunked_array([], pa.uint64())
        needed.add(each.column)
        tests.append(test)
    if text:
        texts = [name for name, kind in types.items() if kind == pa.string()]
        needed.update(texts)
        tests.append(_contains_text(texts, text))
    return _scan_columns(columns, sorted(needed), tests)


def _scan_columns(columns: pq.ParquetFile, needed: list[str], tests: list[Test]) -> pa.ChunkedArray:
    positions, start = [], 0
    for batch in columns.iter_batches(columns=needed):
        met = reduce(pc.and_, (pc.fill_null(test(batch), False) for test in tests))
        positions.append(pc.add(pc.indices_nonzero(met), pa.scalar(start, pa.uint64())))
        start += batch.num_rows
    return pa.chunked_array(positions, pa.uint64())


def _contains_text(columns: list[str], text: str) -> Test:
    def test(batch: pa.RecordBatch) -> pa.Array:
        found = (pc.match_substring(batch[name], text, ignore_case=True) for name in columns)
        return reduce(pc.or_kleene, found)

    return test


def _is_equal(column: str, text: str, kind: pa.DataType | None) -> Test | None:
    if kind is None or pa.types.is_fixed_size_binary(kind):
        return None
    value = _parse_number(text) if kind != pa.string() else text
    return None if value is None else lambda batch: pc.equal(batch[column], value)


def _is_between(column: str, text: str, kind: pa.DataType | None) -> Test | None:
    limits = _parse_range(text)
    if limits is None or kind not in (pa.float64(), pa.int64()):
        return None
    return lambda batch: is_within(batch[column], *limits)


def _has_length(column: str, text: str, kind: pa.DataType | None) -> Test | None:
    limits = _parse_range(text)
    if limits is None or kind != pa.string():
        return None
    return lambda batch: is_within(pc.utf8_length(batch[column]), *limits)


def _is_missing(column: str, text: str, kind: pa.DataType | None) -> Test | None:
    return None if kind is None else lambda batch: pc.is_null(batch[column])


def is_within(values: pa.Array, low: float, high: float) -> pa.Array:
    """Return True where a value is at least ``low`` and below ``high``."""
    return pc.and_(pc.greater_equal(values, low), pc.less(values, high))


def _parse_range(text: str) -> tuple[float, float] | None:
    below, _, above = text.partition(RANGE)
    low, high = _parse_number(below), _parse_number(above)
    return None if low is None or high is None else (low, high)


def _parse_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


TESTS: dict[str, Callable[[str, str, pa.DataType | None], Test | None]] = {
    "is": _is_equal,
    "between": _is_between,
    "length": _has_length,
    "none": _is_missing,
}
