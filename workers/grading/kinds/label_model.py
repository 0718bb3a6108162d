"""``label_model``: a judge chooses one label; 1 if it is a passing one, else 0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from workers.contract.graders import LabelModelGrader
from workers.contract.json_types import JsonValue
from workers.grading import form_fields
from workers.grading.context import GradingContext
from workers.grading.examples import JUDGE, TASK
from workers.grading.form_fields import FormField
from workers.grading.judge.asking import Messages, build_schema, grade_with_judge, quote_data
from workers.grading.judge.client import Question
from workers.grading.kind import GraderKind
from workers.grading.results import Grade, GradeResult, GraderInvalid, Subject


@dataclass(frozen=True)
class _Verdict:
    label: str
    reason: str


def open_label_model(grader: LabelModelGrader, context: GradingContext) -> Grade:
    """Return the grader, ready to grade batches. Raises ``GradingUnavailable`` for an unknown judge."""
    judge = context.judge(grader.model)
    task = (
        "You are a grader. Give a short reason, then exactly one of these labels: "
        f'{quote_data(grader.labels)}, in JSON: {{"reason": …, "label": …}}.'
    )
    messages = Messages(grader.input, task)
    labels: list[JsonValue] = list(grader.labels)
    schema = build_schema({"reason": {"type": "string"}, "label": {"type": "string", "enum": labels}})

    def read(verdict: object) -> _Verdict:
        fields = verdict if isinstance(verdict, dict) else {}
        label = fields.get("label")
        label = label.strip() if isinstance(label, str) and label not in grader.labels else label
        if label not in grader.labels:
            raise ValueError(f"its label is none of {quote_data(grader.labels)}")
        return _Verdict(str(label), str(fields.get("reason", "")))

    def question(subject: Subject) -> Question:
        return Question(messages.fill(subject), schema, read, grader.sampling_params)

    def result(verdict: _Verdict) -> GradeResult:
        passing = verdict.label in grader.passing_labels
        return GradeResult(float(passing), explanation=f"{verdict.label}: {verdict.reason}")

    def grade(subjects: Sequence[Subject]) -> list[GradeResult]:
        return grade_with_judge(judge, subjects, question, result)

    return grade


def check_label_model(grader: LabelModelGrader) -> None:
    """Raise ``GraderInvalid`` for a passing label that is no label."""
    strange = [label for label in grader.passing_labels if label not in grader.labels]
    if strange:
        raise GraderInvalid("passing_labels", f"{strange[0]!r} is none of the labels")


KIND = GraderKind(
    definition=LabelModelGrader,
    label="Model label",
    explanation="A judge model chooses a label: 1 if it is a passing one, else 0.",
    example={
        "type": "label_model",
        "name": "verdict",
        "model": JUDGE,
        "input": [{"role": "system", "content": "Does the answer say the same as the reference?"}, TASK],
        "labels": ["same", "different"],
        "passing_labels": ["same"],
        "sampling_params": {"temperature": 0},
    },
    fields=(
        form_fields.MODEL,
        form_fields.PROMPT,
        FormField("labels", "Labels, one a line", "lines"),
        FormField("passing_labels", "Passing labels", "lines"),
    ),
    has_form=True,
    open=open_label_model,
    check=check_label_model,
    is_openai=True,
    asks_judge=True,
)
