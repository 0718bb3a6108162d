"""The result file of a job: a CSV file with one row for each step."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from webapp.datasets.files.services import store_result
from webapp.jobs.models import Job
from webapp.jobs.results.step_metrics import describe_steps
from workers.contract.json_types import JsonObject, JsonValue

FIRST_COLUMNS = (
    "step",
    "train_mean_reward",
    "full_valid_mean_reward",
    "train_reward_mean",
    "valid_reward_mean",
)


def store_results(job: Job) -> str:
    """Store the job's result file and return its id; empty for a job that trained no step."""
    metrics = list(job.metrics.order_by("step"))
    if not metrics:
        return ""
    content = write_csv([_flatten(step) for step in describe_steps(job, metrics)])
    return str(store_result(job.team, f"{job.uid}_results.csv", content.encode()).uid)


def write_csv(rows: list[dict[str, JsonValue]]) -> str:
    """Return the rows as CSV. A column that any row has is in the header; its other cells are empty."""
    found = dict.fromkeys(name for row in rows for name in row)
    columns = [name for name in FIRST_COLUMNS if name in found]
    columns += [name for name in found if name not in columns]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _flatten(payload: JsonObject) -> dict[str, JsonValue]:
    """Return the numbers of a step by path, such as ``errors/graders/NAME/train_other_error_count``."""
    return dict(_walk(payload, ""))


def _walk(value: JsonObject, path: str) -> Iterator[tuple[str, JsonValue]]:
    for name, inner in value.items():
        if isinstance(inner, dict):
            yield from _walk(inner, f"{path}{name}/")
        elif isinstance(inner, list):
            for each in inner:
                assert isinstance(each, dict), "lists of a step hold graders"
                numbers = {key: number for key, number in each.items() if key not in ("name", "type")}
                yield from _walk(numbers, f"{path}{name}/{each['name']}/")
        else:
            yield path + name, inner
