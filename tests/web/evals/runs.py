"""Eval runs as the API makes them."""

from __future__ import annotations

from typing import Any

from django.utils import timezone

from webapp.evals.models import CriterionCounts, Eval, EvalRun, RunReport
from webapp.evals.samples import NO_USAGE
from webapp.teams.models import Team
from webapp.work.models import WorkState
from workers.contract.json_types import JsonObject

SAME = {
    "type": "string_check", "name": "same", "operation": "eq",
    "input": "{{sample.output_text}}", "reference": "{{item.label}}", "pass_threshold": 1.0,
}  # fmt: skip
ROW: JsonObject = {"item": {"label": "Paris"}, "sample": {"output_text": "Rome"}}


def queued_run(team: Team, *rows: JsonObject) -> EvalRun:
    """A run that waits for a worker."""
    found = Eval.objects.create(team=team, name="Capitals", item_schema={"type": "object"}, criteria=[SAME])
    source = {"type": "jsonl", "source": {"type": "file_content"}}
    return EvalRun.objects.create(
        team=team, eval=found, name="first", data_source=source, rows=list(rows or [ROW])
    )


def finished_run(team: Team) -> EvalRun:
    """A run whose only row failed."""
    run = queued_run(team)
    result = {
        "name": "same", "type": "string_check", "score": 0.0, "passed": False, "sample": None, "error": None,
    }  # fmt: skip
    add_item(run, 1, "fail", results=[result])
    run.state, run.finished_at = WorkState.FINISHED, timezone.now()
    run.report = RunReport(failed=1, criteria={"same": CriterionCounts(failed=1)})
    run.save()
    return run


def add_item(run: EvalRun, number: int, status: str, text: str = "Rome", **values: Any) -> None:
    """Add a graded row."""
    sample = {
        "error": None, "finish_reason": "", "input": [], "model": "", "usage": NO_USAGE, "seed": None,
        "output": [{"role": "assistant", "content": text}], "max_completion_tokens": None,
        "temperature": None, "top_p": None,
    }  # fmt: skip
    values = {"item": {"label": "Paris"}, "sample": sample, "results": []} | values
    run.items.create(number=number, status=status, **values)
