"""``multi``: a formula over the rewards of several graders.

If a part has no reward, the whole has none. A part that a bad completion failed counts 0. Either way the
whole has the error class of the part.
"""

from __future__ import annotations

from collections.abc import Iterable

from workers.contract.graders import Grader, MultiGrader
from workers.contract.json_types import JsonObject, JsonValue
from workers.grading.context import GradingContext
from workers.grading.examples import ANSWER, REFERENCE
from workers.grading.form_fields import FormField
from workers.grading.formula import FUNCTIONS, Formula, FormulaFailed, FormulaInvalid, parse_formula
from workers.grading.kind import GraderKind, NormalisePart
from workers.grading.results import (
    Grade,
    GradeResult,
    GraderInvalid,
    Subject,
    TokenUsage,
    add_usage,
    errors_below,
    join_explanations,
)

# Every Python part keeps a process of its own.
MAX_PARTS = 32


def open_multi(grader: MultiGrader, context: GradingContext) -> Grade:
    """Return the grader, ready to grade batches."""
    graders = {name: context.open(part) for name, part in grader.graders.items()}
    formula = parse_formula(grader.calculate_output)

    def grade(subjects: list[Subject]) -> list[GradeResult]:
        columns = [graders[name](subjects) for name in graders]
        return [
            combine_results(formula, dict(zip(graders, row, strict=True)))
            for row in zip(*columns, strict=True)
        ]

    return lambda subjects: grade(list(subjects))


def combine_results(formula: Formula, parts: dict[str, GradeResult]) -> GradeResult:
    """Return the result of the whole from its parts, by name."""
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
        join_explanations(parts),
        _sum_usage(parts.values()),
        any(part.cached for part in parts.values()) and not any(part.usage for part in parts.values()),
    )


def _sum_usage(parts: Iterable[GradeResult]) -> dict[str, TokenUsage]:
    """Return the tokens of all parts, by model."""
    by_model: dict[str, list[TokenUsage]] = {}
    for part in parts:
        for model, usage in part.usage.items():
            by_model.setdefault(model, []).append(usage)
    return {model: add_usage(usages) for model, usages in by_model.items()}


def normalise_multi(raw: JsonObject, normalise_part: NormalisePart) -> JsonObject:
    """Read a list of graders as a map by name, and normalise each."""
    parts: dict[str, JsonValue] = {}
    for name, part in _name_parts(raw.get("graders")):
        with errors_below(f"graders.{name}"):
            normalised = normalise_part(part)
            if normalised["type"] == "multi":
                raise GraderInvalid("", "a multi grader cannot hold another one")
            if name in parts:
                raise GraderInvalid("", "two graders have this name")
        parts[name] = {"name": name, **normalised}
    return raw | {"graders": parts}


def _name_parts(graders: object) -> list[tuple[str, object]]:
    if isinstance(graders, dict) and isinstance(graders.get("type"), str):
        graders = [graders]  # OpenAI's SDK declares a single grader
    if isinstance(graders, dict):
        return list(graders.items())
    if not isinstance(graders, list):
        raise GraderInvalid("graders", "graders is an object of graders by name")
    for index, part in enumerate(graders):
        if not isinstance(part, dict) or not isinstance(part.get("name"), str):
            raise GraderInvalid(f"graders.{index}.name", "a grader in a list needs a name")
    return [(part["name"], part) for part in graders]


def check_multi(grader: MultiGrader) -> None:
    """Raise ``GraderInvalid`` for too many parts, a name that no formula can use, or a wrong formula."""
    if len(grader.graders) > MAX_PARTS:
        raise GraderInvalid("graders", f"at most {MAX_PARTS} graders, found {len(grader.graders)}")
    for name in grader.graders:
        if not (name.isidentifier() and name.isascii()) or name in FUNCTIONS:
            message = "a formula cannot use this name; take letters, digits and _"
            raise GraderInvalid(f"graders.{name}", message)
    try:
        formula = parse_formula(grader.calculate_output)
    except FormulaInvalid as error:
        raise GraderInvalid("calculate_output", str(error)) from error
    unknown = sorted(formula.names - grader.graders.keys())
    if unknown:
        known = ", ".join(grader.graders)
        raise GraderInvalid("calculate_output", f"unknown name {unknown[0]!r}; the graders are {known}")


def list_multi_parts(grader: MultiGrader) -> dict[str, Grader]:
    """Return the graders by their path."""
    return {f"graders.{name}": part for name, part in grader.graders.items()}


KIND = GraderKind(
    definition=MultiGrader,
    label="Combined (multi)",
    explanation="A formula over several graders.",
    example={
        "type": "multi",
        "name": "exact_or_close",
        "graders": {
            "exact": {
                "type": "string_check",
                "name": "exact",
                "input": ANSWER,
                "reference": REFERENCE,
                "operation": "eq",
            },
            "close": {
                "type": "text_similarity",
                "name": "close",
                "input": ANSWER,
                "reference": REFERENCE,
                "evaluation_metric": "rouge_l",
            },
        },
        "calculate_output": "0.7 * exact + 0.3 * close",
    },
    fields=(
        FormField("graders", "Parts", "parts"),
        FormField("calculate_output", "Formula", "textarea"),
    ),
    has_form=True,
    open=open_multi,
    normalise=normalise_multi,
    check=check_multi,
    parts=list_multi_parts,
    is_openai=True,
)
