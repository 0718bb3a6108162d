"""Histograms of a split's columns: counts of frequent values, or numbers in equal steps."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from webapp.datasets.reports import Bar, FieldReport, Histogram
from webapp.datasets.versions.columns import ITEM, read_column_types
from webapp.datasets.versions.row_search import is_within

MOST_BARS = 10
VALUES_SHOWN = 10
STEPS = tuple(map(Fraction, ("1", "2", "2.5", "5", "10", "20", "25")))


def build_histograms(path: Path, fields: Iterable[FieldReport]) -> list[Histogram]:
    """Return one histogram per column of the file, the prompt first.

    ``fields`` are the report's.
    """
    few_values = {f"{ITEM}{field['name']}" for field in fields if field["values"]}
    with pq.ParquetFile(path) as columns:
        found = [_bin_numbers(columns, "prompt_characters")]
        messages = _bin_numbers(columns, "messages")
        if messages["min"] != messages["max"]:
            found.append(messages)
        types = read_column_types(columns)
        for column in (name for name in types if name.startswith(ITEM)):
            if column in few_values:
                found.append(_count_values(columns, column))
            else:
                found.append(_bin_numbers(columns, column, lengths=types[column] == pa.string()))
    return found


def _iterate_batches(columns: pq.ParquetFile, column: str) -> Iterator[pa.Array]:
    for batch in columns.iter_batches(columns=[column]):
        yield batch.column(0)


def _count_values(columns: pq.ParquetFile, column: str) -> Histogram:
    counts: Counter[str | float | None] = Counter()
    for batch in _iterate_batches(columns, column):
        for pair in pc.value_counts(batch).to_pylist():
            counts[pair["values"]] += pair["counts"]
    missing = counts.pop(None, 0)
    most_common = counts.most_common(VALUES_SHOWN)
    bars: list[Bar] = [{"value": value, "count": count} for value, count in most_common if value is not None]
    return {
        "column": column, "kind": "values", "missing": missing, "bars": bars,
        "others": len(counts) - len(bars), "other_rows": counts.total() - sum(bar["count"] for bar in bars),
    }  # fmt: skip


def _bin_numbers(columns: pq.ParquetFile, column: str, lengths: bool = False) -> Histogram:
    parts = [pc.utf8_length(batch) if lengths else batch for batch in _iterate_batches(columns, column)]
    values = pa.chunked_array(parts) if parts else pa.chunked_array([], pa.float64())
    known = values.drop_null()
    found: Histogram = {
        "column": column, "kind": "lengths" if lengths else "numbers", "missing": len(values) - len(known),
        "min": None, "max": None, "mean": None, "bars": [],
    }  # fmt: skip
    if len(known):
        least, most = pc.min_max(known).as_py().values()
        found["min"], found["max"], found["mean"] = least, most, pc.mean(known).as_py()
        found["bars"] = _build_bars(known, least, most)
    return found


def _build_bars(known: pa.ChunkedArray, least: float, most: float) -> list[Bar]:
    edges = choose_edges(least, most, whole=pc.all(pc.equal(pc.floor(known), known)).as_py())
    return [
        {"low": low, "high": high, "count": pc.sum(is_within(known, low, high)).as_py()}
        for low, high in pairwise(edges)
    ]


def choose_edges(least: float, most: float, whole: bool) -> list[float]:
    """Return round, equally spaced edges of at most 10 bars. ``most`` is below the last edge.

    Fractions keep the edges exact: sums of floats would drift. Whole numbers get whole steps.
    """
    finest = 4 * math.ulp(max(abs(least), abs(most)))
    rough = max((most - least) / MOST_BARS, finest, 1.0 if whole else 0.0)
    power = Fraction(10) ** math.floor(math.log10(rough))
    sizes = [size * power for size in STEPS if not whole or (size * power).denominator == 1]
    candidates = (_list_edges(least, most, size) for size in sizes if size >= rough)
    return next(edges for edges in candidates if len(edges) <= MOST_BARS + 1)


def _list_edges(least: float, most: float, step: Fraction) -> list[float]:
    first, last = math.floor(Fraction(least) / step), math.floor(Fraction(most) / step) + 1
    edges = [float(index * step) for index in range(first, last + 1)]
    return edges if edges[-1] > most else [*edges, float((last + 1) * step)]
