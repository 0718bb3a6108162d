"""``math``: compares the final answer with the reference as mathematics, in the sandbox."""

from __future__ import annotations

from workers.contract.graders import MathGrader
from workers.grading import boxed
from workers.grading.context import GradingContext
from workers.grading.results import Grade


def open_mathematics(grader: MathGrader, context: GradingContext) -> Grade:
    """Return the grader, ready to grade batches. Raises ``GradingUnavailable``."""
    return boxed.open_source("mathematics", {}, grader, context, harmless="0")
