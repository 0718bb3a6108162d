"""Eval runs: samples of a model, or those of the rows, graded by every criterion in the sandbox."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from webapp.evals.criteria import get_definition
from webapp.evals.models import EvalRun
from webapp.evals.queues import EVAL_RUNS
from webapp.evals.results import build_item, count_item
from webapp.evals.samples import Sample, collect_samples, get_text
from webapp.evals.stored import load_rows
from workers.bridge.graders.gradings import Completion, grade_completions
from workers.bridge.running import run_item
from workers.contract.json_types import JsonObject
from workers.grading import GradeResult

BATCH_ROWS = 64


def run_eval(run_id: int) -> None:
    """Run a queued eval run. Batches that an earlier attempt stored are not graded again."""
    run_item(EVAL_RUNS, run_id, _run_eval)


def _run_eval(run: EvalRun, folder: Path, lost: threading.Event) -> None:
    rows: list[JsonObject] = run.rows
    for start in range(run.report.total, len(rows), BATCH_ROWS):
        _run_batch(run, start, load_rows(run, rows[start : start + BATCH_ROWS]), folder, lost)
    EVAL_RUNS.finish(run)


def _run_batch(run: EvalRun, start: int, rows: list[JsonObject], folder: Path, lost: threading.Event) -> None:
    samples = collect_samples(run, rows, lost)
    grades = _grade(run, rows, samples, folder, lost)
    items = []
    for offset, (row, sample, given) in enumerate(zip(rows, samples, grades, strict=True)):
        item = build_item(run, start + offset + 1, row, sample, given)
        count_item(run.report, item, given)
        items.append(item)
    EVAL_RUNS.record(run, items, run.report)


def _grade(
    run: EvalRun,
    rows: Sequence[JsonObject],
    samples: Sequence[Sample],
    folder: Path,
    lost: threading.Event,
) -> list[list[GradeResult]]:
    """Return the grades of each row by every criterion; none for a row without a sample."""
    asked = [index for index, sample in enumerate(samples) if sample["error"] is None]
    completions = [
        Completion(get_text(samples[index]), rows[index]["item"], str(index))  # type: ignore[arg-type]
        for index in asked
    ]
    grade_with = partial(grade_completions, run.team, completions=completions, folder=folder, lost=lost)
    grades: list[list[GradeResult]] = [[] for _ in rows]
    for criterion in run.eval.criteria:
        for index, grade in zip(asked, grade_with(get_definition(criterion)), strict=True):
            grades[index].append(grade)
    return grades
