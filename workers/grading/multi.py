"""``multi``: a formula over the rewards of several graders.

A grader whose fault leaves a reward missing leaves the whole missing; one that a bad sample failed counts 0.
Both raise their class on the whole.
"""

from __future__ import annotations

from collections.abc import Iterable

from workers.contract.graders import MultiGrader
from workers.grading.context import GradingContext
from workers.grading.formula import Formula, FormulaFailed, parse_formula
from workers.grading.results import Grade, GradeResult, Subject, TokenUsage, added


def open_multi(grader: MultiGrader, context: GradingContext) -> Grade:
    """Return the grader, ready to grade batches."""
    graders = {name: context.open(part) for name, part in grader.graders.items()}
    formula = parse_formula(grader.calculate_output)

    def grade(subjects: list[Subject]) -> list[GradeResult]:
        columns = [graders[name](subjects) for name in graders]
        return [combined(formula, dict(zip(graders, row, strict=True))) for row in zip(*columns, strict=True)]

    return lambda subjects: grade(list(subjects))


def combined(formula: Formula, parts: dict[str, GradeResult]) -> GradeResult:
    """The whole out of its parts, by name."""
    missing = [name for name, part in parts.items() if part.reward is None]
    flagged = missing or [name for name, part in parts.items() if part.error_class]
    name = flagged[0] if flagged else None
    error_class = parts[name].error_class if name else None
    detail = f"{name}: {parts[name].error_detail}" if name else None
    reward = None
    if not missing:
        try:
            reward = formula.value({n: part.reward for n, part in parts.items() if part.reward is not None})
        except FormulaFailed as failure:
            error_class, detail = "formula_parse_error", str(failure)
    return GradeResult(
        reward,
        {n: part.reward for n, part in parts.items()},
        error_class,
        detail,
        sum(part.seconds for part in parts.values()),
        "".join(part.stdout for part in parts.values()),
        explained(parts),
        used(parts.values()),
        any(part.cached for part in parts.values()) and not any(part.usage for part in parts.values()),
    )


def explained(parts: dict[str, GradeResult]) -> str:
    """The reasons that the parts give, one after another."""
    return "\n".join(f"{name}: {part.explanation}" for name, part in parts.items() if part.explanation)


def used(parts: Iterable[GradeResult]) -> dict[str, TokenUsage]:
    """What all parts took, by model."""
    taken: dict[str, list[TokenUsage]] = {}
    for part in parts:
        for model, usage in part.usage.items():
            taken.setdefault(model, []).append(usage)
    return {model: added(usages) for model, usages in taken.items()}
