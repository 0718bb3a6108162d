"""``math``: compares the final answer with the reference as mathematics, in the sandbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workers.contract.graders import MathGrader
from workers.grading import boxed
from workers.grading.results import Grade

if TYPE_CHECKING:
    from workers.grading.opening import Opening


def opened(grader: MathGrader, opening: Opening) -> Grade:
    """The grader, ready to grade batches. Raises ``GradingUnavailable``."""
    return boxed.opened("mathematics", {}, grader, opening, harmless="0")
