"""Metrics of jobs as charts and files want them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from functools import reduce
from itertools import accumulate
from operator import or_
from typing import Any

from django.db.models import Q

from webapp.jobs.models import Job, Metric
from webapp.jobs.monitor import health

MAX_POINTS = 2000
MOST_SPARSE = 500  # values of a metric that are all kept where steps are thinned
SPARK_POINTS = 40
VALIDATION = "validation/reward"
Column = list[float | None]
Rows = list[tuple[int, dict[str, float]]]


def series(job: Job, weight: float = 0.0) -> dict[str, Any]:
    """``{"steps": [...], "series": {name: [...]}, "x": {...}, "thinned": bool}``, and ``"smoothed"``.

    A step without the metric holds None. ``x`` holds what had been spent by each step: seconds of training
    and tokens of answers. Above 2,000 steps each bucket keeps, per metric, its extremes, so that no spike is
    lost, and what few steps measure, such as validations, stays at its own step. Then, given a weight,
    ``smoothed`` are the moving averages over all steps at the buckets' ends.
    """
    rows = _rows(job)
    steps = [step for step, _ in rows]
    columns = _columns(rows, _names(rows, ()))
    spent = _spent(rows)
    if len(steps) <= MAX_POINTS:
        return {"steps": steps, "series": columns, "x": spent, "thinned": False}
    kept = _kept(len(steps))
    exact = {place for column in columns.values() for place in _sparse(column)}
    exact -= {place for bucket in kept for place in (bucket[0], bucket[-1])}
    smooth = {name: smoothed(column, weight) for name, column in columns.items()} if weight else {}
    return {
        "steps": _thinned(steps, kept, exact),
        "series": {
            name: _thinned(column, kept, exact, None if _sparse(column) else _extremes(column, kept))
            for name, column in columns.items()
        },
        "x": {name: _thinned(column, kept, exact) for name, column in spent.items()},
        "thinned": True,
        "smoothed": {name: _thinned(column, kept, exact) for name, column in smooth.items()},
    }


def rewards(jobs: Sequence[Job]) -> dict[int, list[float]]:
    """Job -> its mean reward from the first step to the last, at forty of them at most."""
    if not jobs:
        return {}
    alike: dict[int, list[int]] = defaultdict(list)
    for job in jobs:
        alike[job.step].append(job.pk)
    wanted = reduce(or_, (Q(job__in=ids, step__in=_spread(last)) for last, ids in alike.items()))
    found: dict[int, list[float]] = {}
    rows = Metric.objects.filter(wanted).order_by("job", "step").values_list("job_id", "values__reward")
    for job_id, reward in rows:
        if reward is not None:
            found.setdefault(job_id, []).append(reward)
    return found


def _spread(last: int) -> set[int]:
    count = min(last, SPARK_POINTS)
    return {1 + place * (last - 1) // max(count - 1, 1) for place in range(count)}


def smoothed(column: Column, weight: float) -> Column:
    """Exponential moving average with the bias of its start removed; what is missing stays missing."""
    mean = total = 0.0
    result: Column = []
    for value in column:
        if value is not None:
            mean = weight * mean + (1 - weight) * value
            total = weight * total + (1 - weight)
        result.append(None if value is None else mean / total)
    return result


def table(jobs: Sequence[Job], patterns: Sequence[str] = ()) -> Iterator[Sequence[object]]:
    """A header, then a row a step and job; cells are empty where nothing was measured.

    ``patterns`` such as ``tasks/*/reward`` choose metrics. Of several jobs each row begins with its job.
    """
    found = {job: _rows(job) for job in jobs}
    names = _names([row for rows in found.values() for row in rows], patterns)
    several = len(found) > 1
    yield [*(["job"] if several else []), "step", *names]
    for job, rows in found.items():
        for step, values in rows:
            yield [*([job.name] if several else []), step, *(values.get(name, "") for name in names)]


def _rows(job: Job) -> Rows:
    """The numbers of each step, and the validations."""
    rows: dict[int, dict[str, float]] = dict(job.metrics.order_by("step").values_list("step", "values"))
    for check in health.checks(job.evaluations.filter(split="validation", task="")):
        rows[check.step] = rows.get(check.step, {}) | {VALIDATION: check.reward}
    return sorted(rows.items())


def _names(rows: Rows, patterns: Sequence[str]) -> list[str]:
    names = {name for _, values in rows for name in values}
    return sorted(name for name in names if not patterns or any(fnmatchcase(name, each) for each in patterns))


def _columns(rows: Rows, names: Sequence[str]) -> dict[str, Column]:
    return {name: [values.get(name) for _, values in rows] for name in names}


def _spent(rows: Rows) -> dict[str, list[float]]:
    times = [values.get("step_time") or 0.0 for _, values in rows]
    rates = [values.get("tokens_per_second") or 0.0 for _, values in rows]
    tokens = (time * rate for time, rate in zip(times, rates, strict=True))
    return {"seconds": list(accumulate(times)), "tokens": list(accumulate(tokens))}


def _sparse(column: Column) -> list[int]:
    """The places of a metric that few steps measure; empty for one that many do."""
    places = [place for place, value in enumerate(column) if value is not None]
    return places if len(places) <= MOST_SPARSE and 2 * len(places) < len(column) else []


def _thinned(
    column: Sequence[Any], kept: list[range], exact: set[int], at_ends: Sequence[Any] | None = None
) -> list[Any]:
    """The values at the ends of the buckets, or ``at_ends`` in their stead, and those at ``exact`` places."""
    ends = [place for bucket in kept for place in (bucket[0], bucket[-1])]
    values = [column[place] for place in ends] if at_ends is None else at_ends
    placed = [*zip(ends, values, strict=True), *((place, column[place]) for place in exact)]
    return [value for _, value in sorted(placed, key=lambda pair: pair[0])]


def _kept(count: int) -> list[range]:
    size = -(-count // (MAX_POINTS // 2))
    return [range(start, min(start + size, count)) for start in range(0, count, size)]


def _extremes(column: Column, buckets: list[range]) -> Column:
    """Two values a bucket, the least and the greatest, in their order."""
    result: Column = []
    for bucket in buckets:
        known = [(value, place) for place in bucket if (value := column[place]) is not None]
        if not known:
            result += [None, None]
            continue
        low, high = min(known), max(known)
        result += [value for value, _ in sorted((low, high), key=lambda pair: pair[1])]
    return result
