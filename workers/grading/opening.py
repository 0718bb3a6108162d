"""Opens a grader of any kind: one table from type to what grades."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from workers.grading import multi, python, string_check, text_similarity
from workers.grading.definition import check
from workers.grading.results import Grade, GradeResult, Limits, Subject
from workers.grading.sandbox import open_sandbox
from workers.spec import Grader, MultiGrader, PythonGrader, StringCheckGrader

GradeAnswers = Callable[[Sequence[tuple[str, dict[str, Any]]]], list[GradeResult]]


@contextmanager
def open_grader(grader: Grader, *, seed: int = 0, limits: Limits | None = None) -> Iterator[GradeAnswers]:
    """Yields a function from (output text, item) pairs to their grades, in the same order.

    The same seed, text and item are graded alike, whatever else is in the batch. Raises ``GraderInvalid``,
    and ``GradingUnavailable`` if Python source is to be run on a machine whose sandbox cannot.
    """
    check(grader)
    with ExitStack() as stack:
        grade = _opened(grader, seed, limits or Limits(), stack)
        yield lambda answers: grade([Subject(text, item or {}) for text, item in answers])


def _opened(grader: Grader, seed: int, limits: Limits, stack: ExitStack) -> Grade:
    if isinstance(grader, MultiGrader):
        parts = {name: _opened(part, seed, limits, stack) for name, part in grader.graders.items()}
        return multi.opened(grader, parts)
    if isinstance(grader, PythonGrader):
        return python.opened(stack.enter_context(open_sandbox(grader.source, limits)), seed)
    if isinstance(grader, StringCheckGrader):
        return string_check.opened(grader)
    return text_similarity.opened(grader)
