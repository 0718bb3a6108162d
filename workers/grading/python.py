"""``python``: the user's ``grade(sample, item)``, run in the sandbox and nowhere else."""

from __future__ import annotations

from workers.contract.graders import PythonGrader
from workers.grading.context import GradingContext
from workers.grading.results import Grade
from workers.grading.sandbox import open_sandbox
from workers.grading.sandbox.batches import grade_in


def open_python(grader: PythonGrader, context: GradingContext) -> Grade:
    """Return a batch grader on a sandbox that holds the source. Raises ``GradingUnavailable``."""
    sandbox = context.stack.enter_context(open_sandbox(grader.source, context.limits))
    return grade_in(sandbox, context.seed)
