"""Metrics of a job as charts and files want them."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Any

from .models import Job

MAX_POINTS = 2000


def series(job: Job) -> dict[str, Any]:
    """``{"steps": [...], "series": {name: [...]}}``; a step without the metric holds None.

    Above 2,000 steps each bucket keeps, per metric, its extremes, so that no spike is lost.
    """
    rows = list(job.metrics.order_by("step").values_list("step", "values"))
    names = sorted({name for _, values in rows for name in values})
    steps = [step for step, _ in rows]
    columns = {name: [values.get(name) for _, values in rows] for name in names}
    if len(steps) <= MAX_POINTS:
        return {"steps": steps, "series": columns}
    kept = _kept(len(steps))
    thinned = {name: _extremes(column, kept) for name, column in columns.items()}
    return {
        "steps": [steps[place] for bucket in kept for place in (bucket[0], bucket[-1])],
        "series": thinned,
    }


def _kept(count: int) -> list[range]:
    size = -(-count // (MAX_POINTS // 2))
    return [range(start, min(start + size, count)) for start in range(0, count, size)]


def _extremes(column: list[float | None], buckets: list[range]) -> list[float | None]:
    """Two values a bucket, the least and the greatest, in their order."""
    result: list[float | None] = []
    for bucket in buckets:
        known = [(column[place], place) for place in bucket if column[place] is not None]
        if not known:
            result += [None, None]
            continue
        low, high = min(known), max(known)
        result += [value for value, _ in sorted((low, high), key=lambda pair: pair[1])]
    return result


class _Line:
    """A file that hands back what is written, for streaming CSV."""

    def write(self, text: str) -> str:
        return text


def csv_lines(job: Job) -> Iterator[str]:
    """The metrics as CSV: a header, then a row a step; cells are empty where nothing was measured."""
    rows = job.metrics.order_by("step").values_list("step", "values")
    names = sorted({name for _, values in rows for name in values})
    writer: Any = csv.writer(_Line())
    yield writer.writerow(["step", *names])
    for step, values in rows:
        yield writer.writerow([step, *(values.get(name, "") for name in names)])
