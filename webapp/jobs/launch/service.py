"""Launch jobs: check a request, write the job once, and have its files validated."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from django.core.files.storage import default_storage
from django.db import transaction
from pydantic import ValidationError

from webapp.datasets.models import DatasetVersion
from webapp.endpoints import services as endpoints
from webapp.environments.launching import find_environment_refusal
from webapp.graders import services as graders
from webapp.graders.definitions import required_fields
from webapp.graders.models import GraderCheck, GraderVersion
from webapp.jobs.errors import SettingsInvalid
from webapp.jobs.job_events import add_event
from webapp.jobs.launch import estimates
from webapp.jobs.launch.request import JobRequest, SuiteChoice, TaskChoice, task_choices
from webapp.jobs.launch.row_builds import enqueue_build
from webapp.jobs.launch.steps import count_steps
from webapp.jobs.models import Job, JobSuite, JobTask
from webapp.jobs.states import State
from webapp.jobs.transitions import change_state
from webapp.registry.models import TunedModel
from webapp.registry.services import build_tuned_name
from webapp.registry.uploads import read_lora_shape
from webapp.teams.services import record_event
from webapp.work import messages
from webapp.work.errors import WorkError
from workers import grading
from workers.contract.methods import METHODS
from workers.contract.spec import MAX_SEED, EvaluationSettings, JobSettings
from workers.starter.suites import SUITES

MAX_TASKS = 8
MAX_SUITES = 16
MAX_WEIGHT = 100
TASK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.-]{0,29}", re.ASCII)


@transaction.atomic
def launch(request: JobRequest) -> Job:
    """Write the requested job with its tasks and suites. Raises ``SettingsInvalid``.

    The job pins its dataset and grader versions. A continued adapter keeps its shape: its rank, alpha and
    targets replace those of the settings.
    """
    first, named = request.tasks[0], _named_tasks(request)
    if errors := dict(
        [*_task_problems(named), *_adapter_problems(request), *_suite_problems(request.suites)]
    ):
        raise SettingsInvalid(errors)
    settings = check_settings(_settings_in_full(request))
    settings = _scale_pass_threshold(settings, first.grader_version)
    if errors := dict(_grader_problems(first, request.held_out_grader)):
        raise SettingsInvalid(errors)
    versions = [task.dataset_version for task in request.tasks]
    job = _create_job(
        request,
        settings=settings,
        dataset_version=first.dataset_version,
        grader_version=first.grader_version,
        environment_version=first.environment_version,
        total_steps=request.total_steps or count_steps(settings.grpo, *versions),
    )
    JobTask.objects.bulk_create(
        JobTask(
            job=job,
            position=position,
            name=task.name,
            dataset_version=task.dataset_version,
            grader_version=task.grader_version,
            environment_version=task.environment_version,
            weight=task.weight,
        )
        for position, task in enumerate(named)
    )
    JobSuite.objects.bulk_create(
        JobSuite(
            job=job,
            position=position,
            name=suite.name,
            built_in=suite.built_in,
            dataset_version=suite.dataset_version,
            grader_version=suite.grader_version,
            max_loss=suite.max_loss,
        )
        for position, suite in enumerate(request.suites)
    )
    _record_launch(request, job)
    messages.notify_workers("validate_job", job.pk)
    return job


@transaction.atomic
def launch_without_rows(request: JobRequest, grader: GraderVersion) -> Job:
    """Write a job whose rows a worker makes of its files; only then they are checked.

    The request has no tasks. Raises ``SettingsInvalid``.
    """
    errors = dict(_adapter_problems(request))
    if unmet := find_unmet_conditions(grader):
        errors["grader_version"] = " ".join(unmet)
    if errors:
        raise SettingsInvalid(errors)
    settings = _scale_pass_threshold(check_settings(_settings_in_full(request)), grader)
    job = _create_job(request, settings=settings, grader_version=grader)
    _record_launch(request, job)
    enqueue_build(job)
    return job


def _create_job(request: JobRequest, **values: Any) -> Job:
    return Job.objects.create(
        team=request.team,
        created_by=request.user,
        name=request.name,
        base_model=request.base_model,
        held_out_grader=request.held_out_grader,
        initial_adapter=request.initial_adapter,
        method=request.method,
        sft=request.sft,
        control_of=request.control_of,
        interference_of=request.interference_of,
        cloned_from=request.cloned_from,
        ticket=request.ticket,
        metadata=request.metadata,
        asked=request.asked,
        model_name=_name_model(request),
        **values,
    )


def _record_launch(request: JobRequest, job: Job) -> None:
    control = f"{METHODS[request.method].label} control run" if request.control_of else "job"
    record_event(request.team, request.user, f"launched {control}", job)
    _add_first_events(job)


def _name_model(request: JobRequest) -> str:
    """Return the name of the model that the job makes; empty to derive it from the job's name."""
    if request.suffix is None:
        return ""
    return build_tuned_name(request.base_model, request.team, request.suffix)


def _add_first_events(job: Job) -> None:
    add_event(job.pk, job.attempt, "created", {})
    training, validation = name_files(job)
    add_event(job.pk, job.attempt, "validating", {"training_file": training, "validation_file": validation})


def name_files(job: Job) -> tuple[str, str | None]:
    """Return the ids of the job's training and validation files in the API."""
    if asked := job.asked:
        validation = asked["validation_file"]
        return str(asked["training_file"]), str(validation) if validation else None
    assert job.dataset_version, "only the API launches jobs without rows"
    validation_file = job.dataset_version.validation_file
    return job.dataset_version.uid, validation_file.uid if validation_file else None


def check_settings(given: JobSettings | Mapping[str, object]) -> JobSettings:
    """Return the settings with every default filled in. Raises ``SettingsInvalid``."""
    if isinstance(given, JobSettings):
        return given
    try:
        return JobSettings.model_validate(given)
    except ValidationError as error:
        raise SettingsInvalid(dict(map(_describe_problem, error.errors()))) from error


def _describe_problem(problem: Mapping[str, object]) -> tuple[str, str]:
    """Return the setting's path, such as ``grpo.learning_rate``, and what is wrong with it."""
    location = problem["loc"]
    assert isinstance(location, tuple)
    if location == ("seed",):
        return "seed", f"A whole number between 0 and {MAX_SEED}."
    if len(location) == 1 and problem["type"] == "extra_forbidden":
        return str(location[0]), "There is no such section."
    return ".".join(map(str, location)), str(problem["msg"]).removeprefix("Value error, ")


def _settings_in_full(request: JobRequest) -> JobSettings | Mapping[str, object]:
    """The request's settings, with the shape of the adapter that training continues from."""
    if request.initial_adapter is None:
        return request.settings
    shape = read_lora_shape(request.initial_adapter)
    given = request.settings
    if isinstance(given, JobSettings):
        return given.model_copy(update={"lora": given.lora.model_copy(update=shape)})
    lora = given.get("lora", {})
    return {**given, "lora": {**lora, **shape} if isinstance(lora, Mapping) else lora}


def _scale_pass_threshold(settings: JobSettings, version: GraderVersion) -> JobSettings:
    """Adapt the default pass threshold to the range of a ``score_model`` grader.

    The default is meant for rewards up to 1: on a scale from 1 to 10 every completion would pass.
    """
    default = EvaluationSettings().pass_threshold
    definition = version.definition
    low, high = definition.get("range") or (0.0, 1.0)
    if settings.evaluation.pass_threshold != default or definition["type"] != "score_model":
        return settings
    scaled = {"pass_threshold": low + default * (high - low)}
    return settings.model_copy(update={"evaluation": settings.evaluation.model_copy(update=scaled)})


# --- what keeps a job from its launch --------------------------------------------------------------

Problems = Iterator[tuple[str, str]]  # (path of the field, what is wrong)


def _named_tasks(request: JobRequest) -> Sequence[TaskChoice]:
    return [] if len(request.tasks) == 1 and not request.tasks[0].name else request.tasks


def _task_problems(tasks: Sequence[TaskChoice]) -> Problems:
    """Problems of several tasks; those of the first one's grader are found with the job's own."""
    if len(tasks) > MAX_TASKS:
        yield "tasks", f"A job has at most {MAX_TASKS} tasks."
    names = [task.name.casefold() for task in tasks]
    for number, task in enumerate(tasks, start=1):
        path = f"task_{number}"
        if not TASK_NAME.fullmatch(task.name):
            yield f"{path}.name", "1 to 30 letters, digits, spaces and . _ - beginning with a letter."
        elif names.index(task.name.casefold()) != number - 1:
            yield f"{path}.name", "Another task has this name: curves are told apart by it."
        if not 0 < task.weight <= MAX_WEIGHT:
            yield f"{path}.weight", f"Above 0, at most {MAX_WEIGHT}."
        if number > 1:
            yield from ((f"{path}.{name}", reason) for name, reason in _part_problems(task))


def _find_grader_problem(version: GraderVersion, rows: DatasetVersion) -> str:
    """Return why the grader may not grade these rows; empty if it may."""
    return " ".join(find_unmet_conditions(version)) or required_fields.find_refusal(version, rows)


def _part_problems(task: TaskChoice) -> Problems:
    """Problems of a task's grader and of its environment."""
    if reason := _find_grader_problem(task.grader_version, task.dataset_version):
        yield "grader_version", reason
    environment = task.environment_version
    if reason := find_environment_refusal(environment, task.dataset_version, task.grader_version):
        yield "environment_version", reason


def _grader_problems(task: TaskChoice, held_out: GraderVersion | None) -> Problems:
    yield from _part_problems(task)
    if held_out is None:
        return
    if (reason := refuse_held_out(held_out, task.grader_version)) or (
        reason := required_fields.find_refusal(held_out, task.dataset_version)
    ):
        yield "held_out_grader", reason


def find_unmet_conditions(version: GraderVersion) -> list[str]:
    """Return why no job may use this version yet: known answers graded wrongly, judges not connected."""
    return [*graders.list_unmet_conditions(version), *_find_missing_judges(version)]


def find_unmet_conditions_of_check(version: GraderVersion, check: GraderCheck | None) -> list[str]:
    """``find_unmet_conditions`` by a check that has been loaded already, or its absence."""
    tests = list(version.grader.tests.all())
    return [*graders.list_unmet_tests(version, tests, check), *_find_missing_judges(version)]


def _find_missing_judges(version: GraderVersion) -> list[str]:
    missing = endpoints.list_missing_judges(version.grader.team, version.parsed)
    connect = "Nobody has connected the judge {!r} that it asks: an owner does so under Judges."
    return [connect.format(model) for model in missing]


def refuse_held_out(held_out: GraderVersion, trained: GraderVersion) -> str:
    """Return why ``held_out`` cannot watch a job that trains on ``trained``; empty if it can."""
    if held_out.sha256 == trained.sha256:
        return (
            "It is the grader that is trained on, so it would see nothing that training does not. "
            "Choose another one."
        )
    return " ".join(find_unmet_conditions(held_out))


def _adapter_problems(request: JobRequest) -> Problems:
    adapter = request.initial_adapter
    if adapter is None:
        return
    # The lock is held until the job is saved: a deletion sees the job, or the job the deletion.
    if not TunedModel.objects.alive().select_for_update().filter(pk=adapter.pk).first():
        yield (
            "initial_adapter",
            f"{adapter} was deleted. Restore it under Models, Deleted, or choose another.",
        )
    elif adapter.base_model_id != request.base_model.pk:
        yield (
            "initial_adapter",
            f"This adapter belongs to {adapter.base_model}. Choose that base model, or another adapter.",
        )


def _suite_problems(suites: Sequence[SuiteChoice]) -> Problems:
    if len(suites) > MAX_SUITES:
        yield "suites", f"A job has at most {MAX_SUITES} suites."
    for suite in suites:
        if reason := _refuse_suite(suite):
            yield f"suite {suite.name}", reason


def _refuse_suite(suite: SuiteChoice) -> str:
    """Return why this suite cannot be scored; empty if it can."""
    if suite.built_in:
        return "" if suite.built_in in SUITES else f"There is no built-in suite {suite.built_in!r}."
    assert suite.dataset_version, f"{suite.name} has neither rows nor a built-in suite"
    assert suite.grader_version, f"{suite.name} has rows without a grader"
    if not suite.dataset_version.files["validation"]["rows"]:
        return (
            f"{suite.dataset_version} has no validation rows, which a suite is made of: upload it with some."
        )
    return _find_grader_problem(suite.grader_version, suite.dataset_version)


# --- after the launch ------------------------------------------------------------------------------


@transaction.atomic
def validate_files(job_id: int) -> None:
    """Queue a new job, or fail it with what is wrong with its files or graders. It waits for its rows."""
    job = Job.objects.select_for_update(of=("self",)).select_related(
        "dataset_version", "grader_version"
    ).get(pk=job_id)  # fmt: skip
    if job.state != State.VALIDATING_FILES or job.dataset_version is None:
        return
    found = (_find_file_error(task.dataset_version) or _find_grader_error(task.grader_version)
             for task in task_choices(job))  # fmt: skip
    if error := next(filter(None, found), None):
        change_state(job.pk, State.FAILED, error=error)
    else:
        estimate = estimates.estimate(estimates.plan_job(job)) if job.promoted_step is None else None
        change_state(job.pk, State.QUEUED, estimate=estimate.for_job() if estimate else None)
        messages.notify_workers("run_jobs")


def _find_file_error(version: DatasetVersion) -> WorkError | None:
    missing = [
        split
        for split, file in version.files.items()
        if file["rows"] and not default_storage.exists(file["key"])
    ]
    if missing:
        message = f"The stored files of {version} are gone: {', '.join(missing)}."
        return WorkError(code="invalid_training_file", message=message, remedy="Upload the dataset again.")
    if not version.files["train"]["rows"]:
        message = f"{version} has no rows to train on."
        return WorkError(code="invalid_training_file", message=message, remedy="Upload more rows.")
    return None


def _find_grader_error(version: GraderVersion) -> WorkError | None:
    try:
        grading.validate(version.definition)
    except grading.GraderInvalid as error:
        message = f"{version}: {error.param}: {error.message}"
        return WorkError(code="invalid_grader", message=message, remedy="Save a version that is valid.")
    return None
