"""What the columns of a split hold: how often each usual value stands there, or numbers in equal steps."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from webapp.datasets.versions.columns import ITEM, read_column_types
from webapp.datasets.versions.row_search import is_within

MOST_BARS = 10
VALUES_SHOWN = 10
STEPS = tuple(map(Fraction, ("1", "2", "2.5", "5", "10", "20", "25")))


def build_histograms(path: Path, fields: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """One histogram a column of the file, the prompt's own first. ``fields`` is the report's list.

    Each has a column, a kind (``values``, ``numbers`` or ``lengths``), the number of rows without a value,
    and its bars: value and count, or low, high (excluded) and count. Lengths are in characters.
    """
    with pq.ParquetFile(path) as columns:
        return _of_columns(columns, fields)


def _of_columns(columns: pq.ParquetFile, fields: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    few = {f"{ITEM}{field['name']}" for field in fields if field["values"]}
    kinds = read_column_types(columns)
    found = [_bin_numbers(columns, "prompt_characters")]
    messages = _bin_numbers(columns, "messages")
    if messages["min"] != messages["max"]:
        found.append(messages)
    for column in (name for name in kinds if name.startswith(ITEM)):
        if column in few:
            found.append(_count_values(columns, column))
        else:
            found.append(_bin_numbers(columns, column, lengths=kinds[column] == pa.string()))
    return found


def _iterate_batches(columns: pq.ParquetFile, column: str) -> Iterator[pa.Array]:
    for batch in columns.iter_batches(columns=[column]):
        yield batch.column(0)


def _count_values(columns: pq.ParquetFile, column: str) -> dict[str, Any]:
    counts: Counter[Any] = Counter()
    for batch in _iterate_batches(columns, column):
        for pair in pc.value_counts(batch).to_pylist():
            counts[pair["values"]] += pair["counts"]
    missing = counts.pop(None, 0)
    bars = [{"value": value, "count": count} for value, count in counts.most_common(VALUES_SHOWN)]
    return {
        "column": column, "kind": "values", "missing": missing, "bars": bars,
        "others": len(counts) - len(bars), "other_rows": counts.total() - sum(bar["count"] for bar in bars),
    }  # fmt: skip


def _bin_numbers(columns: pq.ParquetFile, column: str, lengths: bool = False) -> dict[str, Any]:
    parts = [pc.utf8_length(batch) if lengths else batch for batch in _iterate_batches(columns, column)]
    all_of_them = pa.chunked_array(parts) if parts else pa.chunked_array([], pa.float64())
    known = all_of_them.drop_null()
    kind = "lengths" if lengths else "numbers"
    found = {"column": column, "kind": kind, "missing": len(all_of_them) - len(known)}
    if not len(known):
        return found | {"min": None, "max": None, "mean": None, "bars": []}
    least, most = pc.min_max(known).as_py().values()
    bars = _build_bars(known, least, most)
    return found | {"min": least, "max": most, "mean": pc.mean(known).as_py(), "bars": bars}


def _build_bars(known: pa.ChunkedArray, least: float, most: float) -> list[dict[str, Any]]:
    edges = choose_edges(least, most, whole=pc.all(pc.equal(pc.floor(known), known)).as_py())
    return [
        {"low": low, "high": high, "count": pc.sum(is_within(known, low, high)).as_py()}
        for low, high in pairwise(edges)
    ]


def choose_edges(least: float, most: float, whole: bool) -> list[float]:
    """Round edges, equally far apart, of at most 10 bars; ``most`` lies below the last edge.

    Whole numbers get steps of whole numbers.
    """
    finest = 4 * math.ulp(max(abs(least), abs(most)))
    rough = max((most - least) / MOST_BARS, finest, 1.0 if whole else 0.0)
    power = Fraction(10) ** math.floor(math.log10(rough))
    sizes = [size * power for size in STEPS if not whole or (size * power).denominator == 1]
    tried = (_list_edges(least, most, size) for size in sizes if size >= rough)
    return next(edges for edges in tried if len(edges) <= MOST_BARS + 1)


def _list_edges(least: float, most: float, step: Fraction) -> list[float]:
    first, last = math.floor(Fraction(least) / step), math.floor(Fraction(most) / step) + 1
    edges = [float(place * step) for place in range(first, last + 1)]
    return edges if edges[-1] > most else [*edges, float((last + 1) * step)]
