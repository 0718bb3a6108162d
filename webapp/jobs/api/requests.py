"""Requests for jobs: find what they name, turn them into a ``JobRequest``, and launch it."""

from __future__ import annotations

from pathlib import PurePath

from django.db import transaction
from django.db.models import Q

from webapp.core.api.errors import ApiError, NotFound
from webapp.datasets.files.models import ApiFile
from webapp.datasets.files.services import build_version, find_file, find_version
from webapp.datasets.models import DatasetVersion
from webapp.environments.launching import list_usable_versions
from webapp.environments.models import EnvironmentVersion
from webapp.graders import services as graders
from webapp.graders.models import GraderVersion
from webapp.jobs.api.schemas import JobBody, JsonDict, Reinforcement
from webapp.jobs.api.settings import build_settings, name_param
from webapp.jobs.errors import SettingsInvalid
from webapp.jobs.job_events import add_event
from webapp.jobs.launch.request import JobRequest, single_task
from webapp.jobs.launch.service import launch, launch_without_rows
from webapp.jobs.models import Job
from webapp.registry.models import BaseModel, TunedModel
from webapp.registry.services import find_base, find_tuned
from webapp.teams.models import Team, User
from workers import grading

NAME_LENGTH = 120
ROWS_AT_ONCE = 2_000  # a version of more rows is made by a worker
GRADER = "method.reinforcement.grader"
ENVIRONMENT = "method.reinforcement.environment"
ONLY_REINFORCEMENT = (
    "Groove trains by reinforcement only, so far: set method to "
    '{"type": "reinforcement", "reinforcement": {"grader": …}}.'
)
NOT_SENT = "Integrations are recorded with the job, but Groove sends nothing to other services."
NOT_CONSTRAINED = (
    "The response format is recorded with the job, but rollouts are not constrained to it: let the grader "
    "reward it."
)


@transaction.atomic
def create_job(team: Team, user: User | None, asked: JobBody) -> Job:
    """Launch the job that was asked for. Raises ApiError; then nothing of it stays."""
    reinforcement = _find_reinforcement(asked)
    base, adapter = _find_model(team, asked.model)
    training = _find_file(team, asked.training_file, "training_file")
    validation = _find_file(team, asked.validation_file, "validation_file") if asked.validation_file else None
    grader = find_grader(team, user, reinforcement.grader)
    environment = find_environment(team, reinforcement.environment) if reinforcement.environment else None
    stem = PurePath(training.filename).stem[:NAME_LENGTH]
    version = _find_version(team, user, training, validation, stem, at_once=environment is not None)
    validation_rows = version.files["validation"]["rows"] if version else validation and validation.rows
    request = JobRequest(
        team=team,
        user=user,
        name=asked.suffix or stem or "Job",
        base_model=base,
        initial_adapter=adapter,
        tasks=single_task(version, grader, environment) if version else (),
        settings=build_settings(base, validation_rows or 0, asked),
        suffix=asked.suffix or "",
        metadata=asked.metadata or {},
        asked=_describe_request(asked),
    )
    try:
        job = launch(request) if version else launch_without_rows(request, grader)
    except SettingsInvalid as error:
        raise _refuse(error) from error
    _warn(job, asked, reinforcement)
    return job


def _find_reinforcement(asked: JobBody) -> Reinforcement:
    method = asked.method
    if method is None or method.type != "reinforcement":
        param = "method.type" if method else "method"
        raise ApiError(ONLY_REINFORCEMENT, param=param, code="invalid_value")
    if method.reinforcement is None:
        param = "method.reinforcement"
        raise ApiError(
            f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter"
        )
    if asked.hyperparameters is not None:
        message = "Top-level hyperparameters are for supervised jobs. Use those of the method."
        raise ApiError(message, param="hyperparameters", code="invalid_value")
    return method.reinforcement


def _find_model(team: Team, name: str) -> tuple[BaseModel, TunedModel | None]:
    """Return the base model, and the adapter if training continues from a tuned model."""
    if base := find_base(team, name):
        return base, None
    if tuned := find_tuned(team, name):
        return tuned.base_model, tuned
    message = f"The model {name!r} does not exist, or cannot be fine-tuned. GET /v1/models lists models."
    raise ApiError(message, param="model", code="model_not_available")


def _find_file(team: Team, uid: str, param: str) -> ApiFile:
    try:
        return find_file(team, uid)
    except NotFound as error:
        raise ApiError(f"{param}: {error}", param=param, code="invalid_value") from error


def _find_version(
    team: Team, user: User | None, training: ApiFile, validation: ApiFile | None, name: str, *, at_once: bool
) -> DatasetVersion | None:
    """Return the version of these files; None if it has to be made of more rows than a request may wait for.

    ``at_once``, it is made of any number: tasks of an environment are checked before the launch. Raises
    ApiError for files of another purpose, and for a wrong row of small files.
    """
    if found := find_version(team, training, validation):
        return found
    rows = [file.rows for file in (training, validation) if file]
    if not at_once and (None in rows or sum(filter(None, rows)) > ROWS_AT_ONCE):
        return None
    return build_version(team, user, training, validation, name)


def find_grader(team: Team, user: User | None, definition: JsonDict) -> GraderVersion:
    """Return the team's grader version with this definition; make one if there is none."""
    try:
        return graders.find_or_create_version(team, user, definition)
    except grading.GraderInvalid as error:
        param = f"{GRADER}.{error.param}" if error.param else GRADER
        raise ApiError(f"Invalid '{param}': {error.message}", param=param, code="invalid_value") from error


def find_environment(team: Team, uid: str) -> EnvironmentVersion:
    """Return the version with this id, or the newest one of the environment with this id."""
    versions = list_usable_versions(team)
    found = versions.filter(Q(uid=uid) | Q(environment__uid=uid)).first()
    if found is None:
        raise ApiError(f"No such environment: {uid}", param=ENVIRONMENT, code="invalid_value")
    return found


def _refuse(error: SettingsInvalid) -> ApiError:
    path, message = next(iter(error.errors.items()))
    param = name_param(path)
    code = "model_not_available" if param == "model" else "invalid_value"
    return ApiError(f"Invalid '{param}': {message}", param=param, code=code)


def _warn(job: Job, asked: JobBody, reinforcement: Reinforcement) -> None:
    """Say in the job's events what is recorded without an effect."""
    constrained = reinforcement.response_format and reinforcement.response_format.type != "text"
    for applies, message in ((asked.integrations, NOT_SENT), (constrained, NOT_CONSTRAINED)):
        if applies:
            add_event(job.pk, job.attempt, "log", {"level": "warning", "message": message})


def _describe_request(asked: JobBody) -> JsonDict:
    """Return the parts of the request that the job object shows again."""
    assert asked.method, "checked before"
    assert asked.method.reinforcement, "checked before"
    reinforcement = asked.method.reinforcement
    response_format = reinforcement.response_format
    return {
        "model": asked.model,
        "training_file": asked.training_file,
        "validation_file": asked.validation_file,
        "suffix": asked.suffix,
        "settings": {**asked.settings},
        "integrations": [each.model_dump(exclude_none=True) for each in asked.integrations or []],
        "method": {
            "type": "reinforcement",
            "reinforcement": {
                "grader": reinforcement.grader,
                **({"environment": reinforcement.environment} if reinforcement.environment else {}),
                "response_format": response_format.model_dump(exclude_none=True, by_alias=True)
                if response_format
                else None,
                "hyperparameters": reinforcement.hyperparameters.echo(),
            },
        },
    }
