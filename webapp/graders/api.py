"""``/v1/fine_tuning/alpha/graders``: validate a grader, and run it on one completion.

A worker runs it in the sandbox, as it runs the trials of the bench; the web process only waits.
"""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import Any, get_args

from ninja import Router, Schema
from pydantic import JsonValue

from webapp.core.api.errors import ApiError
from webapp.endpoints.services import list_missing_judges
from webapp.graders import services
from webapp.graders.models import GraderTrial
from webapp.graders.rows import GradedAnswer, Row
from webapp.keys.authentication import WRITE, ApiRequest
from webapp.teams.models import Team
from webapp.work import nodes
from workers import grading
from workers.contract.events import GradingErrorClass
from workers.contract.graders import Grader, MultiGrader

router = Router(tags=["Graders"])
WAIT_SECONDS = 120
POLL_SECONDS = 0.1
RETRY_SECONDS = 15
NO_WORKER = "No worker is online to run the grader. Try again in a moment."
BUSY = "All workers are busy. The grader was not run; try again in a moment."
SLOW = "The grader did not finish in {} s."


class ValidateBody(Schema):
    grader: dict[str, JsonValue]


class RunBody(Schema):
    grader: dict[str, JsonValue]
    model_sample: str
    item: dict[str, JsonValue] | None = None


class ValidObject(Schema):
    grader: dict[str, Any]


class RunMetadata(Schema):
    name: str
    type: str
    execution_time: float
    scores: dict[str, float | None]
    token_usage: int | None
    sampled_model_name: str | None
    errors: dict[str, bool | str | None]


class RunObject(Schema):
    reward: float
    sub_rewards: dict[str, float]
    model_grader_token_usage_per_model: dict[str, dict[str, int]]
    metadata: RunMetadata


@router.post("/validate", auth=WRITE, response=ValidObject)
def validate_grader(request: ApiRequest, body: ValidateBody) -> dict[str, Any]:
    """Validate a grader and return its normal form."""
    parsed = parse_grader(request.auth.team, body.grader)
    return {"grader": parsed.model_dump(mode="json", exclude_none=True)}


@router.post("/run", auth=WRITE, response=RunObject)
def run_grader(request: ApiRequest, body: RunBody) -> dict[str, Any]:
    """Grade one completion. A failure while grading is no error: the reward is 0 and its flag is set."""
    access = request.auth
    parsed = parse_grader(access.team, body.grader)
    if not nodes.find_online().exists():
        raise _unavailable(NO_WORKER)
    row: Row = {"row_id": "api", "messages": [], "item": body.item or {}}
    choices = {"answers": ["typed"], "answer": body.model_sample}
    trial = services.create_trial(access.team, access.user, body.grader, [row], choices)
    try:
        return describe_result(parsed, _wait(trial))
    finally:
        GraderTrial.objects.filter(pk=trial.pk).delete()  # nobody else can find it


def parse_grader(team: Team, definition: dict[str, JsonValue], name: str = "grader") -> Grader:
    """Return the valid grader, which the caller sent as ``name``.

    Raises ApiError, also for judges that nobody has connected.
    """
    try:
        parsed = grading.validate(definition)
    except grading.GraderInvalid as error:
        param = f"{name}.{error.param}" if error.param else name
        raise ApiError(f"Invalid '{param}': {error.message}", param=param, code="invalid_value") from error
    if missing := list_missing_judges(team, parsed):
        message = f"Nobody has connected the judge {missing[0]!r}: an owner does so under Judges."
        raise ApiError(message, param=f"{name}.model", code="invalid_value")
    return parsed


def _unavailable(message: str) -> ApiError:
    return ApiError(message, status=HTTPStatus.SERVICE_UNAVAILABLE, retry_after=RETRY_SECONDS)


def _wait(trial: GraderTrial) -> GraderTrial:
    """Return the trial when it has ended. Raises ApiError if that takes too long."""
    end = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < end:
        trial.refresh_from_db(fields=["state", "results", "error"])
        if not trial.pending:
            return trial
        time.sleep(POLL_SECONDS)
    queued = trial.state == GraderTrial.State.QUEUED
    raise _unavailable(BUSY if queued else SLOW.format(WAIT_SECONDS))


# --- the result ------------------------------------------------------------------------------------


def describe_result(grader: Grader, trial: GraderTrial) -> dict[str, Any]:
    """Return the result of an ended trial of one completion, in OpenAI's shape."""
    if trial.results:
        return _describe_grade(grader, trial.results[0])
    message = trial.error.message if trial.error else ""
    kind: GradingErrorClass = (
        "model_grader_server_error" if grading.judge_models(grader) else "python_grader_server_error"
    )
    failed: GradedAnswer = {
        "row": 0, "source": "typed", "number": 1, "answer": "", "reward": None, "sub_rewards": {},
        "error_class": kind, "error_detail": message, "seconds": 0.0, "stdout": "", "explanation": "",
        "usage": {}, "cached": False,
    }  # fmt: skip
    return _describe_grade(grader, failed)


def _describe_grade(grader: Grader, grade: GradedAnswer) -> dict[str, Any]:
    rewards = {name: reward or 0.0 for name, reward in grade["sub_rewards"].items()}
    usage = {
        model: {name: int(tokens[name]) for name in tokens if name != "cost"}  # type: ignore[literal-required]
        for model, tokens in grade["usage"].items()
    }
    return {
        "reward": grade["reward"] or 0.0,
        "sub_rewards": rewards if isinstance(grader, MultiGrader) else {},
        "model_grader_token_usage_per_model": usage,
        "metadata": {
            "name": grader.name,
            "type": grader.type,
            "execution_time": grade["seconds"],
            "scores": rewards,
            "token_usage": sum(tokens["total_tokens"] for tokens in usage.values()) if usage else None,
            "sampled_model_name": next(iter(usage)) if len(usage) == 1 else None,
            "errors": _describe_errors(grade["error_class"], grade["error_detail"]),
        },
    }


def _describe_errors(kind: str | None, detail: str | None) -> dict[str, bool | str | None]:
    errors: dict[str, bool | str | None] = {name: name == kind for name in get_args(GradingErrorClass)}
    details = {
        "python_grader_server_error_type": "python_grader_server_error",
        "python_grader_runtime_error_details": "python_grader_runtime_error",
        "model_grader_server_error_details": "model_grader_server_error",
    }
    return errors | {name: detail if kind == of else None for name, of in details.items()}
