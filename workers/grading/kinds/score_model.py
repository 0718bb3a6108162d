"""``score_model``: a judge answers with a number, clamped to the range."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from workers.contract.graders import ScoreModelGrader
from workers.contract.json_types import JsonObject
from workers.grading import form_fields
from workers.grading.context import GradingContext
from workers.grading.examples import JUDGE, TASK
from workers.grading.form_fields import FormField
from workers.grading.judge.asking import Messages, build_schema, grade_with_judge, join_steps
from workers.grading.judge.client import Question
from workers.grading.judge.verdicts import as_number
from workers.grading.kind import GraderKind
from workers.grading.results import Grade, GradeResult, GraderInvalid, Subject

TEXT: JsonObject = {"type": "string"}
STEPS: JsonObject = {"type": "array", "items": build_schema({"description": TEXT, "conclusion": TEXT})}


def open_score_model(grader: ScoreModelGrader, context: GradingContext) -> Grade:
    """Return the grader, ready to grade batches. Raises ``GradingUnavailable`` for an unknown judge."""
    judge = context.judge(grader.model)
    low, high = grader.range
    task = (
        f"You are a grader. Give your reasoning as steps, then a number from {low:g} to {high:g} as result, "
        'in JSON: {"steps": [{"description": …, "conclusion": …}], "result": …}.'
    )
    messages = Messages(grader.input, task)
    schema = build_schema({"steps": STEPS, "result": {"type": "number", "minimum": low, "maximum": high}})

    def question(subject: Subject) -> Question:
        return Question(messages.fill(subject), schema, read_result, grader.sampling_params)

    def result(verdict: JsonObject) -> GradeResult:
        reward = clamp_result(verdict["result"], low, high)
        return GradeResult(reward, explanation=join_steps(verdict.get("steps")))

    def grade(subjects: Sequence[Subject]) -> list[GradeResult]:
        return grade_with_judge(judge, subjects, question, result)

    return grade


def read_result(verdict: Any) -> JsonObject:
    """Return the verdict. Raises ``ValueError`` if it holds no result."""
    if not isinstance(verdict, dict) or "result" not in verdict:
        raise ValueError("there is no result in it")
    return verdict


def clamp_result(result: Any, low: float, high: float) -> float:
    """Return the result within the range, and 0 for what is no number, as OpenAI documents.

    ``"0.8"`` is a number.
    """
    result = as_number(result)
    if isinstance(result, bool) or not isinstance(result, int | float) or result != result:
        return 0.0
    return float(min(max(result, low), high))


def check_score_model(grader: ScoreModelGrader) -> None:
    """Raise ``GraderInvalid`` for an empty range."""
    low, high = grader.range
    if not low < high:
        raise GraderInvalid("range", f"the first must be below the second: {low}, {high}")


KIND = GraderKind(
    definition=ScoreModelGrader,
    label="Model score",
    explanation="A judge model gives a number within a range.",
    example={
        "type": "score_model",
        "name": "score",
        "model": JUDGE,
        "input": [
            {"role": "system", "content": "Score from 0 to 1 how well the answer agrees with the reference."},
            TASK,
        ],
        "range": [0, 1],
        "sampling_params": {"temperature": 0},
    },
    fields=(
        form_fields.MODEL,
        form_fields.PROMPT,
        FormField("range", "Range, lowest and highest score", "json"),
    ),
    has_form=True,
    open=open_score_model,
    check=check_score_model,
    is_openai=True,
    asks_judge=True,
)
