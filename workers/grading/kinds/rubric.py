"""``rubric``: named yes-or-no criteria with weights, code before judge. R = sum(wc) / sum(w) (2507.17746)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from workers.contract.graders import Criterion, Grader, RubricGrader
from workers.contract.json_types import JsonObject, JsonValue
from workers.grading import form_fields
from workers.grading.context import GradingContext
from workers.grading.examples import JUDGE, TASK
from workers.grading.form_fields import FormField
from workers.grading.judge.asking import Messages, build_schema, grade_with_judge, quote_data
from workers.grading.judge.client import Question
from workers.grading.judge.verdicts import as_truth
from workers.grading.kind import GraderKind, NormalisePart
from workers.grading.results import (
    Grade,
    GradeResult,
    GraderInvalid,
    Subject,
    errors_below,
    join_explanations,
)

PROMPT = (
    "You are a grader. For every criterion below say in a short reason how the answer stands, then whether "
    'it is met, in JSON: {"criteria": {NAME: {"reason": …, "met": true or false}, …}}. Criteria: '
)


@dataclass(frozen=True)
class _JudgedCriteria:
    """The judge's verdicts on the questions, by name."""

    met: dict[str, bool]
    reasons: str


def open_rubric(grader: RubricGrader, context: GradingContext) -> Grade:
    """Return the grader, ready to grade batches. Raises ``GradingUnavailable``."""
    coded = {c.name: context.open(c.grader) for c in grader.criteria if c.grader}
    ask = _open_judge(grader, context)

    def grade(subjects: Sequence[Subject]) -> list[GradeResult]:
        columns = {name: part(subjects) for name, part in coded.items()}
        first = [
            _combine_coded(grader, {name: column[index] for name, column in columns.items()})
            for index in range(len(subjects))
        ]
        if ask is None:
            return [_weigh(grader, result) for result in first]
        undecided = [index for index, result in enumerate(first) if _needs_judge(grader, result)]
        second = iter(ask([subjects[index] for index in undecided]))
        for index in undecided:
            first[index] = _merge_results(first[index], next(second))
        return [_weigh(grader, result) for result in first]

    return grade


def _combine_coded(grader: RubricGrader, parts: dict[str, GradeResult]) -> GradeResult:
    """Combine the criteria that code decides; one that failed leaves the whole without a reward."""
    limits = {c.name: c.threshold for c in grader.criteria}
    missing = next((name for name, part in parts.items() if part.reward is None), None)
    return GradeResult(
        None if missing else 0.0,
        {n: None if p.reward is None else float(p.reward >= limits[n]) for n, p in parts.items()},
        parts[missing].error_class if missing else None,
        f"{missing}: {parts[missing].error_detail}" if missing else None,
        sum(part.seconds for part in parts.values()),
        "".join(part.stdout for part in parts.values()),
        join_explanations(parts),
    )


def _needs_judge(grader: RubricGrader, result: GradeResult) -> bool:
    """True if the judge's verdict can still change the reward."""
    return result.reward is not None and not _misses_required(grader, result)


def _misses_required(grader: RubricGrader, result: GradeResult) -> bool:
    return any(c.required and result.sub_rewards.get(c.name) == 0.0 for c in grader.criteria)


def _merge_results(code: GradeResult, judged: GradeResult) -> GradeResult:
    """Merge both parts of one answer; ``judged`` holds the cost of the call."""
    return replace(
        judged,
        sub_rewards=code.sub_rewards | judged.sub_rewards,
        seconds=code.seconds + judged.seconds,
        stdout=code.stdout,
        explanation="\n".join(filter(None, [code.explanation, judged.explanation])),
    )


def _weigh(grader: RubricGrader, result: GradeResult) -> GradeResult:
    if result.reward is None:
        return result
    if _misses_required(grader, result):
        return replace(result, reward=0.0)
    known = [(c.weight, result.sub_rewards[c.name]) for c in grader.criteria]
    return replace(result, reward=sum(w * (met or 0.0) for w, met in known) / sum(w for w, _ in known))


def _open_judge(grader: RubricGrader, context: GradingContext) -> Grade | None:
    """Return a grader that asks all questions at once, or ``None`` if there is none."""
    asked = [criterion for criterion in grader.criteria if criterion.question]
    if not asked or grader.model is None:
        return None
    judge = context.judge(grader.model)
    listed = quote_data([{"name": c.name, "criterion": c.question} for c in asked])
    messages = Messages(grader.input, f"{PROMPT}{listed}.")
    schema = _build_verdict_schema(asked)
    names = {criterion.name for criterion in asked}

    def read(verdict: Any) -> _JudgedCriteria:
        return _read_verdict(verdict, names)

    def question(subject: Subject) -> Question:
        return Question(messages.fill(subject), schema, read, grader.sampling_params, cold=True)

    def result(judged: _JudgedCriteria) -> GradeResult:
        return GradeResult(0.0, {n: float(met) for n, met in judged.met.items()}, explanation=judged.reasons)

    return lambda subjects: grade_with_judge(judge, subjects, question, result)


def _build_verdict_schema(asked: list[Criterion]) -> JsonObject:
    one = build_schema({"reason": {"type": "string"}, "met": {"type": "boolean"}})
    return build_schema({"criteria": build_schema({criterion.name: one for criterion in asked})})


def _read_verdict(verdict: Any, names: set[str]) -> _JudgedCriteria:
    """Return which criteria are met. Raises ``ValueError`` unless every one is there."""
    found = verdict.get("criteria") if isinstance(verdict, dict) else None
    if not isinstance(found, dict) or found.keys() != names:
        raise ValueError(f"its criteria must be exactly these: {', '.join(sorted(names))}")
    met = {name: as_truth(one.get("met")) for name, one in found.items() if isinstance(one, dict)}
    if len(met) < len(found) or not all(isinstance(each, bool) for each in met.values()):
        raise ValueError("met must be true or false")
    reasons = [f"{n}: {'met' if met[n] else 'not met'}. {one.get('reason', '')}" for n, one in found.items()]
    return _JudgedCriteria(met, "\n".join(reasons))


def normalise_rubric(raw: JsonObject, normalise_part: NormalisePart) -> JsonObject:
    """Normalise the graders of the criteria."""
    written = raw.get("criteria")
    if not isinstance(written, list):
        return raw
    criteria: list[JsonValue] = []
    for number, criterion in enumerate(written):
        if isinstance(criterion, dict) and isinstance(criterion.get("grader"), dict):
            with errors_below(f"criteria.{number}.grader"):
                criterion = criterion | {"grader": normalise_part(criterion["grader"])}
        criteria.append(criterion)
    return raw | {"criteria": criteria}


def check_rubric(grader: RubricGrader) -> None:
    """Raise ``GraderInvalid`` for a name that two criteria have."""
    names = [criterion.name for criterion in grader.criteria]
    for number, name in enumerate(names):
        if names.index(name) != number:
            raise GraderInvalid(f"criteria.{number}.name", f"two criteria are named {name!r}")


def list_rubric_parts(grader: RubricGrader) -> dict[str, Grader]:
    """Return the graders of the criteria by their path."""
    return {f"criteria.{i}.grader": c.grader for i, c in enumerate(grader.criteria) if c.grader}


KIND = GraderKind(
    definition=RubricGrader,
    label="Rubric",
    explanation="Yes-or-no criteria with weights: code first, a judge for the rest.",
    example={
        "type": "rubric",
        "name": "reply",
        "model": JUDGE,
        "input": [TASK],
        "criteria": [
            {
                "name": "short",
                "weight": 1,
                "grader": {
                    "type": "regex",
                    "name": "short",
                    "pattern": "\\A.{1,600}\\Z",
                    "flags": ["dotall"],
                },
            },
            {
                "name": "agrees",
                "weight": 3,
                "required": True,
                "question": "Does it agree?",
            },
            {"name": "polite", "weight": 1, "question": "Is it polite?"},
        ],
    },
    fields=(
        form_fields.MODEL,
        form_fields.PROMPT,
        FormField("criteria", "Criteria", "json"),
    ),
    has_form=True,
    open=open_rubric,
    normalise=normalise_rubric,
    check=check_rubric,
    parts=list_rubric_parts,
    asks_judge=True,
)
