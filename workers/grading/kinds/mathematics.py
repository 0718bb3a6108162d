"""``math``: compares the final answer with the reference as mathematics, in the sandbox."""

from __future__ import annotations

from workers.contract.graders import MathGrader
from workers.grading import form_fields
from workers.grading.context import GradingContext
from workers.grading.examples import ANSWER, REFERENCE
from workers.grading.kind import GraderKind
from workers.grading.results import Grade
from workers.grading.sandboxed import Source, open_source

MODULES = ("verdicts", "final_answer", "quantities", "values", "equality")
SOURCE = Source(
    "mathematics.py", modules=("thoughts", *(f"sandboxed.{name}" for name in MODULES)), harmless="0"
)


def open_mathematics(grader: MathGrader, context: GradingContext) -> Grade:
    """Return the grader, ready to grade batches. Raises ``GradingUnavailable``."""
    return open_source(SOURCE, grader, context, {})


KIND = GraderKind(
    definition=MathGrader,
    label="Mathematics",
    explanation="1 or 0: completion and reference are mathematically equal.",
    example={"type": "math", "name": "equal", "input": ANSWER, "reference": REFERENCE},
    fields=(
        form_fields.INPUT,
        form_fields.REFERENCE,
    ),
    open=open_mathematics,
    rewards_reference=True,
)
