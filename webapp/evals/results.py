"""Grades of a run's rows: the results of each row, and the counts of the run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from webapp.evals.criteria import is_passed
from webapp.evals.models import CriterionCounts, EvalRun, ItemStatus, ModelUsage, OutputItem, RunReport
from webapp.evals.samples import Sample
from webapp.evals.stored import REFERENCE
from workers.contract.json_types import JsonObject
from workers.grading import GradeResult


class Result(TypedDict):
    """The grade by one criterion. ``score`` is 0 if grading failed; then ``error`` says why."""

    name: str
    type: str
    score: float
    passed: bool
    sample: dict[str, str] | None
    error: str | None


def build_item(
    run: EvalRun, number: int, row: JsonObject, sample: Sample, grades: Sequence[GradeResult]
) -> OutputItem:
    """Return a row with its results. Without a sample it has none."""
    criteria: list[JsonObject] = run.eval.criteria
    results = [_build_result(each, grade) for each, grade in zip(criteria, grades, strict=False)]
    graded = len(results) == len(criteria) and all(grade.reward is not None for grade in grades)
    passed = ItemStatus.PASS if all(result["passed"] for result in results) else ItemStatus.FAIL
    status = passed if graded else ItemStatus.ERROR
    return OutputItem(
        run=run, number=number, item=row["item"], sample=sample, results=results, status=status,
        interaction_id=str(row[REFERENCE]) if REFERENCE in row else None,
    )  # fmt: skip


def _build_result(criterion: JsonObject, grade: GradeResult) -> Result:
    return {
        "name": str(criterion["name"]),
        "type": str(criterion["type"]),
        "score": grade.reward or 0.0,
        "passed": grade.reward is not None and is_passed(criterion, grade.reward),
        "sample": {"explanation": grade.explanation} if grade.explanation else None,
        "error": f"{grade.error_class}: {grade.error_detail}" if grade.error_class else None,
    }


def count_item(report: RunReport, item: OutputItem, grades: Sequence[GradeResult]) -> None:
    """Add a row to the counts."""
    counts = {ItemStatus.PASS: "passed", ItemStatus.FAIL: "failed", ItemStatus.ERROR: "errored"}
    name = counts[ItemStatus(item.status)]
    setattr(report, name, getattr(report, name) + 1)
    results: list[Result] = item.results
    for result, grade in zip(results, grades, strict=True):
        if grade.reward is not None:
            found = report.criteria.setdefault(result["name"], CriterionCounts())
            found.passed += result["passed"]
            found.failed += not result["passed"]
    _count_usage(report, item.sample, grades)


def _count_usage(report: RunReport, sample: Sample, grades: Sequence[GradeResult]) -> None:
    uses = [(model, dict(usage)) for grade in grades for model, usage in grade.usage.items()]
    if any(sample["usage"].values()):
        uses.append((sample["model"], dict(sample["usage"])))
    for model, usage in uses:
        found = report.usage.setdefault(model, ModelUsage())
        found.invocation_count += 1
        for name in ("prompt_tokens", "completion_tokens", "cached_tokens", "total_tokens"):
            setattr(found, name, getattr(found, name) + int(usage.get(name, 0)))  # type: ignore[call-overload]
