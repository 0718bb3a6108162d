"""Opens a grader of any kind: one table from kind to what grades."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from workers.contract import graders as definitions
from workers.grading import (
    json_schema,
    label_model,
    mathematics,
    multi,
    python,
    ranking,
    regex,
    rubric,
    score_model,
    sql,
    string_check,
    text_similarity,
)
from workers.grading.definition import check
from workers.grading.judge import Judges
from workers.grading.judge.cache import VerdictCache
from workers.grading.judge.client import Judge, Loop
from workers.grading.results import Grade, GradeResult, Limits, Subject


class GradeAnswers(Protocol):
    """Grades (output text, item) pairs, in order. Answers to one prompt share a group."""

    def __call__(
        self, answers: Sequence[tuple[str, dict[str, Any]]], groups: Sequence[str] | None = None
    ) -> list[GradeResult]: ...


@dataclass
class Opening:
    """What the kinds open themselves with: the job's seed and limits, its judges, and what ends with it."""

    seed: int
    limits: Limits
    judges: Judges
    stack: ExitStack
    opened_judges: dict[str, Judge] = field(default_factory=dict)

    def judge(self, model: str) -> Judge:
        """The judge of this name, one for all parts of the grader. Raises ``GradingUnavailable``."""
        if model not in self.opened_judges:
            endpoint, key = self.judges.endpoint(model), self.judges.keys.get(model, "")
            if not self.opened_judges:
                self.stack.callback(self._loop.close)
            judge = Judge(model, endpoint, key, self._cache, self._loop)
            self.stack.callback(judge.close)
            self.opened_judges[model] = judge
        return self.opened_judges[model]

    @cached_property
    def _loop(self) -> Loop:
        return Loop()

    @cached_property
    def _cache(self) -> VerdictCache:
        cache = VerdictCache(self.judges.cache)
        self.stack.callback(cache.close)
        return cache

    def open(self, grader: definitions.Grader) -> Grade:
        """The grader, ready to grade batches until the stack is closed."""
        return KINDS[type(grader)](grader, self)


KINDS: dict[type, Callable[[Any, Opening], Grade]] = {
    definitions.StringCheckGrader: string_check.opened,
    definitions.TextSimilarityGrader: text_similarity.opened,
    definitions.PythonGrader: python.opened,
    definitions.ScoreModelGrader: score_model.opened,
    definitions.LabelModelGrader: label_model.opened,
    definitions.JsonSchemaGrader: json_schema.opened,
    definitions.RegexGrader: regex.opened,
    definitions.MathGrader: mathematics.opened,
    definitions.SqlGrader: sql.opened,
    definitions.RubricGrader: rubric.opened,
    definitions.RankingGrader: ranking.opened,
    definitions.MultiGrader: multi.opened,
}


@contextmanager
def open_grader(
    grader: definitions.Grader, *, seed: int = 0, limits: Limits | None = None, judges: Judges | None = None
) -> Iterator[GradeAnswers]:
    """Yields a function from answers to their grades.

    The same seed, text and item are graded alike, whatever else is in the batch; a ``ranking`` compares the
    answers of a group, which must be in one batch. Raises ``GraderInvalid``, and ``GradingUnavailable`` if
    code is to be run on a machine whose sandbox cannot, or a judge is asked whose endpoint is not known.
    """
    with open_graders({"": grader}, seed=seed, limits=limits, judges=judges) as opened:
        yield opened[""]


@contextmanager
def open_graders(
    graders: Mapping[str, definitions.Grader],
    *,
    seed: int = 0,
    limits: Limits | None = None,
    judges: Judges | None = None,
) -> Iterator[dict[str, GradeAnswers]]:
    """``open_grader`` for several at once: they share their judges, so that a budget holds for all."""
    for grader in graders.values():
        check(grader)
    with ExitStack() as stack:
        opening = Opening(seed, limits or Limits(), judges or Judges(), stack)
        yield {name: _answering(opening.open(grader)) for name, grader in graders.items()}


def _answering(grade: Grade) -> GradeAnswers:
    def answered(
        answers: Sequence[tuple[str, dict[str, Any]]], groups: Sequence[str] | None = None
    ) -> list[GradeResult]:
        named = groups or [str(number) for number in range(len(answers))]
        return grade([Subject(t, item or {}, g) for (t, item), g in zip(answers, named, strict=True)])

    return answered
