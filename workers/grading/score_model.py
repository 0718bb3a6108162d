"""``score_model``: a judge answers with a number, clamped to the range."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from workers.contract.graders import ScoreModelGrader
from workers.grading.context import GradingContext
from workers.grading.judge.asking import Messages, form, graded, steps_as_text
from workers.grading.judge.client import Question
from workers.grading.judge.verdicts import as_number
from workers.grading.results import Grade, GradeResult, Subject

TEXT = {"type": "string"}
STEPS = {"type": "array", "items": form({"description": TEXT, "conclusion": TEXT})}


def open_score_model(grader: ScoreModelGrader, context: GradingContext) -> Grade:
    """Return the grader, ready to grade batches. Raises ``GradingUnavailable`` for an unknown judge."""
    judge = context.judge(grader.model)
    low, high = grader.range
    task = (
        f"You are a grader. Give your reasoning as steps, then a number from {low:g} to {high:g} as result, "
        'in JSON: {"steps": [{"description": …, "conclusion": …}], "result": …}.'
    )
    messages = Messages(grader.input, task)
    schema = form({"steps": STEPS, "result": {"type": "number", "minimum": low, "maximum": high}})

    def question(subject: Subject) -> Question:
        return Question(messages.filled(subject), schema, read, grader.sampling_params)

    def result(verdict: dict[str, Any]) -> GradeResult:
        return GradeResult(
            scored(verdict["result"], low, high), explanation=steps_as_text(verdict.get("steps"))
        )

    def grade(subjects: Sequence[Subject]) -> list[GradeResult]:
        return graded(judge, subjects, question, result)

    return grade


def read(verdict: Any) -> dict[str, Any]:
    """Raises ``ValueError`` unless there is a result."""
    if not isinstance(verdict, dict) or "result" not in verdict:
        raise ValueError("there is no result in it")
    return verdict


def scored(result: Any, low: float, high: float) -> float:
    """The result within the range; what is no number counts 0, as OpenAI documents. ``"0.8"`` is a number."""
    result = as_number(result)
    if isinstance(result, bool) or not isinstance(result, int | float) or result != result:
        return 0.0
    return float(min(max(result, low), high))
