"""Open graders of any kind, and grade completions with them until they are closed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Protocol

from workers.contract.graders import Grader
from workers.contract.json_types import JsonObject
from workers.grading.context import GradingContext
from workers.grading.definition import check
from workers.grading.judge import Judges
from workers.grading.kinds import KINDS
from workers.grading.results import Grade, GradeResult, Limits, Subject


class GradeAnswers(Protocol):
    """Grades (completion, item) pairs, in order. Completions of one prompt share a group."""

    def __call__(
        self, answers: Sequence[tuple[str, JsonObject]], groups: Sequence[str] | None = None
    ) -> list[GradeResult]: ...


@contextmanager
def open_grader(
    grader: Grader, *, seed: int = 0, limits: Limits | None = None, judges: Judges | None = None
) -> Iterator[GradeAnswers]:
    """Yield a function from answers to their grades.

    The same seed, text and item are graded alike, whatever else is in the batch; a ``ranking`` compares the
    answers of a group, which must be in one batch. Raises ``GraderInvalid``, and ``GradingUnavailable`` if
    code is to be run on a machine whose sandbox cannot, or a judge is asked whose endpoint is not known.
    """
    with open_graders({"": grader}, seed=seed, limits=limits, judges=judges) as opened:
        yield opened[""]


@contextmanager
def open_graders(
    graders: Mapping[str, Grader],
    *,
    seed: int = 0,
    limits: Limits | None = None,
    judges: Judges | None = None,
) -> Iterator[dict[str, GradeAnswers]]:
    """Open several graders at once: they share their judges, so that a budget holds for all."""
    for grader in graders.values():
        check(grader)
    with ExitStack() as stack:
        context = GradingContext(seed, limits or Limits(), judges or Judges(), stack, _open_kind)
        yield {name: _take_answers(context.open(grader)) for name, grader in graders.items()}


def _open_kind(grader: Grader, context: GradingContext) -> Grade:
    return KINDS[grader.type].open(grader, context)


def _take_answers(grade: Grade) -> GradeAnswers:
    """Turn a grader of subjects into one of answers. Without groups, each answer is a group of its own."""

    def grade_answers(
        answers: Sequence[tuple[str, JsonObject]], groups: Sequence[str] | None = None
    ) -> list[GradeResult]:
        named = groups or [str(number) for number in range(len(answers))]
        return grade([Subject(t, item or {}, g) for (t, item), g in zip(answers, named, strict=True)])

    return grade_answers
