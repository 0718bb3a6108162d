"""``string_check``: 1 if an operation holds between two filled templates, else 0. Nothing is trimmed."""

from __future__ import annotations

from collections.abc import Callable

from workers.contract.graders import StringCheckGrader
from workers.contract.json_types import JsonObject
from workers.grading import form_fields
from workers.grading.context import GradingContext
from workers.grading.examples import ANSWER, REFERENCE
from workers.grading.form_fields import FormField
from workers.grading.kind import GraderKind, NormalisePart
from workers.grading.results import Grade, Subject, one_by_one
from workers.grading.template import parse_template

OPERATIONS: dict[str, Callable[[str, str], bool]] = {
    "eq": lambda text, reference: text == reference,
    "ne": lambda text, reference: text != reference,
    "like": lambda text, reference: reference in text,
    "ilike": lambda text, reference: reference.casefold() in text.casefold(),
}


def open_string_check(grader: StringCheckGrader, _: GradingContext) -> Grade:
    """Return the grader, ready to grade batches."""
    text, reference = parse_template(grader.input), parse_template(grader.reference)
    holds = OPERATIONS[grader.operation]

    def score(subject: Subject) -> float:
        return float(holds(text.fill(subject), reference.fill(subject)))

    return one_by_one(score)


def normalise_string_check(raw: JsonObject, _: NormalisePart) -> JsonObject:
    """Read ``neq`` as ``ne``."""
    return raw | {"operation": "ne"} if raw.get("operation") == "neq" else raw


KIND = GraderKind(
    definition=StringCheckGrader,
    label="String check",
    explanation="1 or 0: the completion equals, differs from or contains the reference.",
    example={
        "type": "string_check",
        "name": "exact",
        "input": ANSWER,
        "reference": REFERENCE,
        "operation": "eq",
    },
    fields=(
        form_fields.INPUT,
        form_fields.REFERENCE,
        FormField("operation", "Operation", "select", tuple(OPERATIONS)),
    ),
    open=open_string_check,
    normalise=normalise_string_check,
    is_openai=True,
    rewards_reference=True,
)
