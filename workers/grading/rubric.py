"""``rubric``: named yes-or-no criteria with weights, code before judge. R = sum(wc) / sum(w) (2507.17746)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from workers.contract.graders import Criterion, RubricGrader
from workers.grading.context import GradingContext
from workers.grading.judge.asking import Messages, as_data, form, graded
from workers.grading.judge.client import Question
from workers.grading.judge.verdicts import as_truth
from workers.grading.multi import explained
from workers.grading.results import Grade, GradeResult, Subject

TASK = (
    "You are a grader. For every criterion below say in a short reason how the answer stands, then whether "
    'it is met, in JSON: {"criteria": {NAME: {"reason": …, "met": true or false}, …}}. Criteria: '
)


@dataclass(frozen=True)
class _Judged:
    """The judge's word on every question: met and why, by name."""

    met: dict[str, bool]
    reasons: str


def open_rubric(grader: RubricGrader, context: GradingContext) -> Grade:
    """Return the grader, ready to grade batches. Raises ``GradingUnavailable``."""
    coded = {c.name: context.open(c.grader) for c in grader.criteria if c.grader}
    ask = _judge(grader, context)

    def grade(subjects: Sequence[Subject]) -> list[GradeResult]:
        columns = {name: part(subjects) for name, part in coded.items()}
        first = [
            _coded(grader, {name: column[place] for name, column in columns.items()})
            for place in range(len(subjects))
        ]
        if ask is None:
            return [_weighed(grader, result) for result in first]
        still_open = [place for place, result in enumerate(first) if _undecided(grader, result)]
        second = iter(ask([subjects[place] for place in still_open]))
        for place in still_open:
            first[place] = _joined(first[place], next(second))
        return [_weighed(grader, result) for result in first]

    return grade


def _coded(grader: RubricGrader, parts: dict[str, GradeResult]) -> GradeResult:
    """The criteria that code decides; one that failed leaves the whole without a reward."""
    limits = {c.name: c.threshold for c in grader.criteria}
    missing = next((name for name, part in parts.items() if part.reward is None), None)
    return GradeResult(
        None if missing else 0.0,
        {n: None if p.reward is None else float(p.reward >= limits[n]) for n, p in parts.items()},
        parts[missing].error_class if missing else None,
        f"{missing}: {parts[missing].error_detail}" if missing else None,
        sum(part.seconds for part in parts.values()),
        "".join(part.stdout for part in parts.values()),
        explained(parts),
    )


def _undecided(grader: RubricGrader, result: GradeResult) -> bool:
    """Whether the judge's word can still matter."""
    return result.reward is not None and not _required_missed(grader, result)


def _required_missed(grader: RubricGrader, result: GradeResult) -> bool:
    return any(c.required and result.sub_rewards.get(c.name) == 0.0 for c in grader.criteria)


def _joined(code: GradeResult, judged: GradeResult) -> GradeResult:
    """Both parts of one answer; ``judged`` holds the cost of the call."""
    return replace(
        judged,
        sub_rewards=code.sub_rewards | judged.sub_rewards,
        seconds=code.seconds + judged.seconds,
        stdout=code.stdout,
        explanation="\n".join(filter(None, [code.explanation, judged.explanation])),
    )


def _weighed(grader: RubricGrader, result: GradeResult) -> GradeResult:
    if result.reward is None:
        return result
    if _required_missed(grader, result):
        return replace(result, reward=0.0)
    known = [(c.weight, result.sub_rewards[c.name]) for c in grader.criteria]
    return replace(result, reward=sum(w * (met or 0.0) for w, met in known) / sum(w for w, _ in known))


def _judge(grader: RubricGrader, context: GradingContext) -> Grade | None:
    """Asks all questions at once; ``None`` if there is none."""
    asked = [criterion for criterion in grader.criteria if criterion.question]
    if not asked or grader.model is None:
        return None
    judge = context.judge(grader.model)
    listed = as_data([{"name": c.name, "criterion": c.question} for c in asked])
    messages = Messages(grader.input, f"{TASK}{listed}.")
    schema = _schema(asked)
    names = {criterion.name for criterion in asked}

    def read(verdict: Any) -> _Judged:
        return _read(verdict, names)

    def question(subject: Subject) -> Question:
        return Question(messages.filled(subject), schema, read, grader.sampling_params, cold=True)

    def result(judged: _Judged) -> GradeResult:
        return GradeResult(0.0, {n: float(met) for n, met in judged.met.items()}, explanation=judged.reasons)

    return lambda subjects: graded(judge, subjects, question, result)


def _schema(asked: list[Criterion]) -> dict[str, Any]:
    one = form({"reason": {"type": "string"}, "met": {"type": "boolean"}})
    return form({"criteria": form({criterion.name: one for criterion in asked})})


def _read(verdict: Any, names: set[str]) -> _Judged:
    """Raises ``ValueError`` unless every criterion is there."""
    found = verdict.get("criteria") if isinstance(verdict, dict) else None
    if not isinstance(found, dict) or found.keys() != names:
        raise ValueError(f"its criteria must be exactly these: {', '.join(sorted(names))}")
    met = {name: as_truth(one.get("met")) for name, one in found.items() if isinstance(one, dict)}
    if len(met) < len(found) or not all(isinstance(each, bool) for each in met.values()):
        raise ValueError("met must be true or false")
    told = [f"{n}: {'met' if met[n] else 'not met'}. {one.get('reason', '')}" for n, one in found.items()]
    return _Judged(met, "\n".join(told))
