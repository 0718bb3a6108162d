"""Criteria of an eval: grader definitions, each with a threshold from which a row passes."""

from __future__ import annotations

from typing import Any

from pydantic import JsonValue

from webapp.core.api.errors import ApiError
from webapp.graders.api import parse_grader
from webapp.teams.models import Team
from workers import grading
from workers.contract.graders import Grader, MultiGrader, ScoreModelGrader, TextSimilarityGrader
from workers.contract.json_types import JsonObject

THRESHOLD = "pass_threshold"
NO_MULTI = "A multi grader cannot be a criterion: name its graders as criteria of their own."
NO_RANKING = "A ranking grader compares several completions of a row; an eval has one. Use score_model."


def parse_criteria(team: Team, definitions: list[dict[str, JsonValue]]) -> list[JsonObject]:
    """Return the criteria in normal form. Raises ApiError with the path of the first wrong field."""
    criteria = [
        _parse_criterion(team, definition, f"testing_criteria.{number}")
        for number, definition in enumerate(definitions)
    ]
    names = [criterion["name"] for criterion in criteria]
    for number, name in enumerate(names):
        if name in names[:number]:
            message = f"Two criteria are named {name!r}: results are counted by name."
            raise ApiError(message, param=f"testing_criteria.{number}.name", code="invalid_value")
    return criteria


def _parse_criterion(team: Team, definition: dict[str, JsonValue], param: str) -> JsonObject:
    grader = parse_grader(team, definition, param)
    if isinstance(grader, MultiGrader) or grading.compares_answers(grader):
        message = NO_MULTI if isinstance(grader, MultiGrader) else NO_RANKING
        raise ApiError(message, param=f"{param}.type", code="invalid_value")
    threshold = _parse_threshold(grader, definition.get(THRESHOLD), f"{param}.{THRESHOLD}")
    return grader.model_dump(mode="json", exclude_none=True) | {THRESHOLD: threshold}


def _parse_threshold(grader: Grader, value: JsonValue, param: str) -> float:
    if value is None:
        if isinstance(grader, TextSimilarityGrader):
            message = f"Missing required parameter: '{param}'."
            raise ApiError(message, param=param, code="missing_required_parameter")
        return grader.range[1] if isinstance(grader, ScoreModelGrader) else 1.0
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ApiError(f"Invalid '{param}': it is a number.", param=param, code="invalid_value")
    return float(value)


def get_definition(criterion: JsonObject) -> JsonObject:
    """Return the grader of a criterion."""
    return {name: value for name, value in criterion.items() if name != THRESHOLD}


def is_passed(criterion: JsonObject, reward: float) -> bool:
    """Return True if the reward reaches the criterion's threshold."""
    threshold: Any = criterion[THRESHOLD]
    return bool(reward >= threshold)
