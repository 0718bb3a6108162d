"""What the page of an eval run shows."""

from __future__ import annotations

import json
from dataclasses import dataclass

from webapp.evals.models import CriterionCounts, EvalRun, ItemStatus, OutputItem
from webapp.evals.results import Result
from webapp.evals.samples import Sample, get_text

BADGES = {ItemStatus.PASS: "success", ItemStatus.FAIL: "error", ItemStatus.ERROR: "warning"}


@dataclass(frozen=True)
class CriterionRow:
    """A criterion with its counts so far."""

    name: str
    kind: str
    threshold: float
    counts: CriterionCounts


@dataclass(frozen=True)
class ItemRow:
    """A graded row: its item as JSON, the text that was graded, and the result by each criterion."""

    number: int
    item: str
    text: str
    problem: str
    status: str
    badge: str
    results: list[Result]


def list_criteria(run: EvalRun) -> list[CriterionRow]:
    """Return the criteria of the run's eval, in order."""
    return [
        CriterionRow(
            name=each["name"],
            kind=each["type"],
            threshold=each["pass_threshold"],
            counts=run.report.criteria.get(each["name"], CriterionCounts()),
        )
        for each in run.eval.criteria
    ]


def describe_row(item: OutputItem) -> ItemRow:
    """Return an output item for the table of rows."""
    sample: Sample = item.sample
    error = sample["error"]
    return ItemRow(
        number=item.number,
        item=json.dumps(item.item, ensure_ascii=False, indent=2),
        text=get_text(sample),
        problem=error["message"] if error else "",
        status=item.get_status_display(),
        badge=BADGES[ItemStatus(item.status)],
        results=item.results,
    )
