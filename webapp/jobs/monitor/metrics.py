"""Metrics of jobs as series for charts and as tables for files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from functools import reduce
from itertools import accumulate
from operator import or_
from typing import NotRequired, TypedDict, TypeVar

from django.db.models import Q

from webapp.jobs.models import Job, Metric
from webapp.jobs.monitor import health

MAX_POINTS = 2000
SPARSE_VALUES = 500  # a metric with fewer values, on less than half of the steps, keeps all of them
SPARK_POINTS = 40
VALIDATION = "validation/reward"
T = TypeVar("T")
Column = list[float | None]
Rows = list[tuple[int, dict[str, float]]]  # (step, metric name -> value)


class SeriesData(TypedDict):
    """The JSON that ``static/js/charts`` reads. Lists have one value per step, or None.

    ``x`` holds running sums by step: seconds of training, and completion tokens.
    """

    steps: list[int]
    series: dict[str, Column]
    x: dict[str, list[float]]
    thinned: bool
    smoothed: NotRequired[dict[str, Column]]


def read_series(job: Job, weight: float = 0.0) -> SeriesData:
    """Return all metrics of the job, thinned to about 2,000 steps.

    Steps are divided into buckets. Each bucket keeps, per metric, its extremes, so that no spike is lost.
    What few steps measure, such as validations, stays at its own step. If there is a weight, ``smoothed``
    has the moving averages over all steps at the ends of the buckets: smoothing the extremes would be wrong.
    """
    rows = _load_rows(job)
    steps = [step for step, _ in rows]
    columns = _split_columns(rows, _select_names(rows, ()))
    spent = _sum_spent(rows)
    if len(steps) <= MAX_POINTS:
        return {"steps": steps, "series": columns, "x": spent, "thinned": False}
    buckets = _split_buckets(len(steps))
    extra = {index for column in columns.values() for index in _find_sparse(column)}
    extra -= {index for bucket in buckets for index in (bucket[0], bucket[-1])}
    smoothed = {name: smooth_column(column, weight) for name, column in columns.items()} if weight else {}
    return {
        "steps": _thin(steps, buckets, extra),
        "series": {
            name: _thin(
                column, buckets, extra, None if _find_sparse(column) else _find_extremes(column, buckets)
            )
            for name, column in columns.items()
        },
        "x": {name: _thin(column, buckets, extra) for name, column in spent.items()},
        "thinned": True,
        "smoothed": {name: _thin(column, buckets, extra) for name, column in smoothed.items()},
    }


def sample_rewards(jobs: Sequence[Job]) -> dict[int, list[float]]:
    """Return job -> mean rewards of at most 40 steps from first to last, for sparklines."""
    if not jobs:
        return {}
    jobs_by_step: dict[int, list[int]] = defaultdict(list)
    for job in jobs:
        jobs_by_step[job.step].append(job.pk)
    wanted = reduce(or_, (Q(job__in=ids, step__in=_spread_steps(last)) for last, ids in jobs_by_step.items()))
    rewards: dict[int, list[float]] = {}
    rows = Metric.objects.filter(wanted).order_by("job", "step").values_list("job_id", "values__reward")
    for job_id, reward in rows:
        if reward is not None:
            rewards.setdefault(job_id, []).append(reward)
    return rewards


def _spread_steps(last: int) -> set[int]:
    count = min(last, SPARK_POINTS)
    return {1 + index * (last - 1) // max(count - 1, 1) for index in range(count)}


def smooth_column(column: Column, weight: float) -> Column:
    """Exponential moving average without initial bias. Missing values stay missing."""
    mean = total = 0.0
    result: Column = []
    for value in column:
        if value is not None:
            mean = weight * mean + (1 - weight) * value
            total = weight * total + (1 - weight)
        result.append(None if value is None else mean / total)
    return result


def build_table(jobs: Sequence[Job], patterns: Sequence[str] = ()) -> Iterator[Sequence[object]]:
    """Yield a header, then a row per step and job. Cells are empty where nothing was measured.

    ``patterns`` such as ``tasks/*/reward`` select metrics. For several jobs each row begins with the job.
    """
    rows_by_job = {job: _load_rows(job) for job in jobs}
    names = _select_names([row for rows in rows_by_job.values() for row in rows], patterns)
    several = len(rows_by_job) > 1
    yield [*(["job"] if several else []), "step", *names]
    for job, rows in rows_by_job.items():
        for step, values in rows:
            yield [*([job.name] if several else []), step, *(values.get(name, "") for name in names)]


def _load_rows(job: Job) -> Rows:
    """The metrics of each step, validations included."""
    rows: dict[int, dict[str, float]] = dict(job.metrics.order_by("step").values_list("step", "values"))
    for check in health.list_validations(job.evaluations.filter(split="validation", task="")):
        rows[check.step] = rows.get(check.step, {}) | {VALIDATION: check.reward}
    return sorted(rows.items())


def _select_names(rows: Rows, patterns: Sequence[str]) -> list[str]:
    names = {name for _, values in rows for name in values}
    return sorted(name for name in names if not patterns or any(fnmatchcase(name, each) for each in patterns))


def _split_columns(rows: Rows, names: Sequence[str]) -> dict[str, Column]:
    return {name: [values.get(name) for _, values in rows] for name in names}


def _sum_spent(rows: Rows) -> dict[str, list[float]]:
    times = [values.get("step_time") or 0.0 for _, values in rows]
    rates = [values.get("tokens_per_second") or 0.0 for _, values in rows]
    tokens = (time * rate for time, rate in zip(times, rates, strict=True))
    return {"seconds": list(accumulate(times)), "tokens": list(accumulate(tokens))}


# --- thinning ------------------------------------------------------------------------------------


def _split_buckets(count: int) -> list[range]:
    size = -(-count // (MAX_POINTS // 2))  # rounded up; each bucket keeps two values
    return [range(start, min(start + size, count)) for start in range(0, count, size)]


def _find_sparse(column: Column) -> list[int]:
    """Indices of the values of a metric that few steps measure; empty for one that many do."""
    indices = [index for index, value in enumerate(column) if value is not None]
    return indices if len(indices) <= SPARSE_VALUES and 2 * len(indices) < len(column) else []


def _find_extremes(column: Column, buckets: list[range]) -> Column:
    """Two values per bucket, the least and the greatest, in order of their steps."""
    result: Column = []
    for bucket in buckets:
        known = [(value, index) for index in bucket if (value := column[index]) is not None]
        if not known:
            result += [None, None]
            continue
        low, high = min(known), max(known)
        result += [value for value, _ in sorted((low, high), key=lambda pair: pair[1])]
    return result


def _thin(
    column: Sequence[T], buckets: list[range], extra: set[int], at_ends: Sequence[T] | None = None
) -> list[T]:
    """Return the values at both ends of each bucket (or ``at_ends``), and ``extra`` ones."""
    ends = [index for bucket in buckets for index in (bucket[0], bucket[-1])]
    values = [column[index] for index in ends] if at_ends is None else at_ends
    pairs = [*zip(ends, values, strict=True), *((index, column[index]) for index in extra)]
    return [value for _, value in sorted(pairs, key=lambda pair: pair[0])]
