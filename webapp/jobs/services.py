"""Jobs: launch, check, pause, resume, cancel."""

from __future__ import annotations

import re
from contextlib import suppress
from itertools import count
from typing import Any

from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from pydantic import BaseModel as Settings
from pydantic import ValidationError

from webapp.core.fields import storable
from webapp.datasets.models import DatasetVersion
from webapp.endpoints import services as endpoints
from webapp.graders import services as graders
from webapp.graders.definitions import required_fields
from webapp.graders.models import GraderCheck, GraderVersion
from webapp.jobs.launch import estimates
from webapp.jobs.models import Job, JobTask
from webapp.jobs.states import State
from webapp.jobs.transitions import move, tell
from webapp.registry.models import BaseModel
from webapp.teams.models import Team, User
from webapp.teams.services import record
from webapp.work import messages
from workers import grading
from workers.contract.spec import (
    AlarmRules,
    ChatSettings,
    EvaluationSettings,
    GrpoSettings,
    LoraSettings,
    PreflightSettings,
    Resources,
)

NAME_LENGTH = 120
NAME_STEM = 110  # leaves room for a number
SECTIONS: dict[str, type[Settings]] = {
    "lora": LoraSettings,
    "grpo": GrpoSettings,
    "evaluation": EvaluationSettings,
    "chat": ChatSettings,
    "preflight": PreflightSettings,
    "alarm": AlarmRules,
    "resources": Resources,
}
PREFLIGHT = "preflight"  # code of the error that a job waits with on the advice
FINISHING = "Told to finish early: training ends at the next step boundary, then evaluation begins."
MAX_SEED = 2_147_483_647


class SettingsInvalid(ValueError):
    """Settings out of bounds; ``errors`` maps places such as ``grpo.learning_rate`` to what is wrong."""

    def __init__(self, errors: dict[str, str]) -> None:
        super().__init__("; ".join(f"{place}: {message}" for place, message in errors.items()))
        self.errors = errors


class WrongState(ValueError):
    """The job's state does not allow this; the message says what it is."""


def checked_settings(given: dict[str, Any]) -> dict[str, Any]:
    """The settings with every default filled in. Raises ``SettingsInvalid``."""
    errors = dict.fromkeys(given.keys() - SECTIONS.keys() - {"seed"}, "There is no such section.")
    complete: dict[str, Any] = {}
    for section, model in SECTIONS.items():
        try:
            complete[section] = model.model_validate(given.get(section, {})).model_dump(mode="json")
        except ValidationError as error:
            for problem in error.errors():
                place = ".".join([section, *map(str, problem["loc"])])
                errors[place] = problem["msg"].removeprefix("Value error, ")
    seed = given.get("seed", 0)
    if not isinstance(seed, int) or not 0 <= seed <= MAX_SEED:
        errors["seed"] = f"A whole number between 0 and {MAX_SEED}."
    if errors:
        raise SettingsInvalid(errors)
    return complete | {"seed": seed}


@transaction.atomic
def create_job(
    team: Team,
    user: User | None,
    *,
    name: str,
    base_model: BaseModel,
    dataset_version: DatasetVersion,
    grader_version: GraderVersion,
    settings: dict[str, Any],
    cloned_from: Job | None = None,
    held_out_grader: GraderVersion | None = None,
    ticket: str = "",
) -> Job:
    """A new job that pins its dataset and grader version. Raises ``SettingsInvalid``."""
    complete = checked_settings(settings)
    complete["evaluation"] |= _right_from(complete["evaluation"], grader_version.definition)
    if held_out_grader and (reason := held_out_refusal(held_out_grader, grader_version)):
        raise SettingsInvalid({"held_out_grader": reason})
    if unmet := grader_conditions(grader_version):
        raise SettingsInvalid({"grader_version": " ".join(unmet)})
    for field, grader in {"grader_version": grader_version, "held_out_grader": held_out_grader}.items():
        if grader and (reason := required_fields.find_refusal(grader, dataset_version)):
            raise SettingsInvalid({field: reason})
    job = Job.objects.create(
        team=team,
        created_by=user,
        name=name,
        base_model=base_model,
        dataset_version=dataset_version,
        grader_version=grader_version,
        settings=complete,
        total_steps=total_steps(complete["grpo"], dataset_version),
        cloned_from=cloned_from,
        held_out_grader=held_out_grader,
        ticket=ticket,
    )
    record(team, user, "launched job", job)
    messages.notify_workers("validate_job", job.pk)
    return job


def _right_from(evaluation: dict[str, Any], grader: dict[str, Any]) -> dict[str, float]:
    """The reward that counts as right for a judge with a scale of its own, unless the team chose one.

    The default is meant for rewards up to 1: on a scale from 1 to 10 every answer would be right.
    """
    default = EvaluationSettings().pass_threshold
    low, high = grader.get("range") or (0.0, 1.0)
    if evaluation["pass_threshold"] != default or grader["type"] != "score_model":
        return {}
    return {"pass_threshold": low + default * (high - low)}


def grader_conditions(version: GraderVersion) -> list[str]:
    """Why no job may use this grader version yet: known answers it pays wrongly, judges nobody connected."""
    return [*graders.list_unmet_conditions(version), *_unconnected(version)]


def conditions_by(version: GraderVersion, check: GraderCheck | None) -> list[str]:
    """The same by the version's check, or the lack of one, that is at hand."""
    tests = list(version.grader.tests.all())
    return [*graders.list_unmet_tests(version, tests, check), *_unconnected(version)]


def _unconnected(version: GraderVersion) -> list[str]:
    missing = endpoints.list_missing_judges(version.grader.team, version.parsed)
    connect = "Nobody has connected the judge {!r} that it asks: an owner does so under Judges."
    return [connect.format(model) for model in missing]


def held_out_refusal(held_out: GraderVersion, trained: GraderVersion) -> str:
    """Why this version cannot watch over a job that is trained by ``trained``; empty if it can."""
    if held_out.sha256 == trained.sha256:
        return (
            "It is the grader that is trained on, so it would see nothing that training does not. "
            "Choose another one."
        )
    return " ".join(grader_conditions(held_out))


def total_steps(grpo: dict[str, Any], *versions: DatasetVersion) -> int:
    """Steps that the job will take: stated, or epochs over the train rows of all its tasks."""
    if grpo["max_steps"]:
        return int(grpo["max_steps"])
    rows = sum(int(version.files["train"]["rows"]) for version in versions)
    return max(1, rows // int(grpo["prompts_per_step"])) * int(grpo["epochs"])


@transaction.atomic
def validate_files(job_id: int) -> None:
    """Let a new job queue, or fail it with what is wrong with its files or grader."""
    job = Job.objects.select_for_update(of=("self",)).select_related(
        "dataset_version", "grader_version"
    ).get(pk=job_id)  # fmt: skip
    if job.state != State.VALIDATING_FILES:
        return
    found = (
        _file_error(part.dataset_version) or _grader_error(part.grader_version) for part in parts_of(job)
    )
    if error := next(filter(None, found), None):
        move(job.pk, State.FAILED, error=error)
    else:
        estimate = estimates.estimate(estimates.plan_of(job)) if job.promoted_step is None else None
        move(job.pk, State.QUEUED, estimate=estimate.as_json() if estimate else None)
        messages.notify_workers("run_jobs")


def parts_of(job: Job) -> list[Job | JobTask]:
    """Everything with data and a grader: the job's tasks, or the job itself."""
    tasks = job.tasks.select_related("dataset_version__dataset", "grader_version__grader")
    return [*tasks] or [job]


def _file_error(version: DatasetVersion) -> dict[str, str] | None:
    missing = [
        split
        for split, file in version.files.items()
        if file["rows"] and not default_storage.exists(file["key"])
    ]
    if missing:
        message = f"The stored files of {version} are gone: {', '.join(missing)}."
        return {"code": "invalid_training_file", "message": message, "remedy": "Upload the dataset again."}
    if not version.files["train"]["rows"]:
        message = f"{version} has no rows to train on."
        return {"code": "invalid_training_file", "message": message, "remedy": "Upload more rows."}
    return None


def _grader_error(version: GraderVersion) -> dict[str, str] | None:
    try:
        grading.validate(version.definition)
    except grading.GraderInvalid as error:
        message = f"{version}: {error.param}: {error.message}"
        return {"code": "invalid_grader", "message": message, "remedy": "Save a version that is valid."}
    return None


@transaction.atomic
def request_cancel(job: Job, user: User | None) -> None:
    """End the job at once; its worker notices and stops. Checkpoints stay. Raises ``WrongState``."""
    if not move(job.pk, State.CANCELLED):
        raise _wrong_state(job, "cancelled")
    record(job.team, user, "cancelled job", job)


def replace(job: Job, user: User) -> None:
    """Cancel the job, for another stands in its place; one that has ended meanwhile stays as it is."""
    with suppress(WrongState):
        request_cancel(job, user)


@transaction.atomic
def rename(job: Job, user: User, name: str) -> None:
    """Give a job another name. Raises ValueError with what to change."""
    name = storable(name).strip()
    if not 0 < len(name) <= NAME_LENGTH:
        raise ValueError(f"A job's name has 1 to {NAME_LENGTH} characters.")
    record(job.team, user, "renamed job", f"{job.name} to {name}")
    Job.objects.filter(pk=job.pk).update(name=name)


def next_name(job: Job) -> str:
    """The job's name with the next number that none of the team's jobs has."""
    stem, number = re.fullmatch(r"(.*?)(?: (\d{1,6}))?", job.name).groups()  # type: ignore[union-attr]
    stem = stem[:NAME_STEM]
    taken = set(Job.objects.filter(team=job.team, name__startswith=stem).values_list("name", flat=True))
    return next(name for n in count(int(number or 1) + 1) if (name := f"{stem} {n}") not in taken)


@transaction.atomic
def request_pause(job: Job, user: User | None) -> None:
    """Have the worker write a checkpoint and give the job back. Raises ``WrongState``."""
    running = Job.objects.select_for_update().filter(pk=job.pk, state=State.RUNNING).first()
    if running is None:
        raise _wrong_state(job, "paused")
    if running.stop_requested == "pause":
        return
    Job.objects.filter(pk=job.pk).update(stop_requested="pause")
    tell(job.pk, running.attempt, "request", {"request": "pause"})
    record(job.team, user, "paused job", job)


@transaction.atomic
def request_finish(job: Job, user: User | None) -> None:
    """End training at the next step boundary, then evaluate and package. Raises ``WrongState``.

    A paused job is queued for that and trains no further step. The request outlives crashes.
    """
    locked = Job.objects.select_for_update(of=("self",)).get(pk=job.pk)
    if locked.finish_early and locked.live:
        raise WrongState("The job is finishing early already.")
    if locked.state == State.RUNNING and locked.phase in ("evaluate", "package"):
        raise WrongState("Training has ended already: the model is being evaluated or packaged.")
    if not locked.may_finish_early:
        raise _wrong_state(job, "finished early")
    Job.objects.filter(pk=job.pk).update(finish_early=True)
    if locked.state == State.PAUSED:
        move(job.pk, State.QUEUED)
        messages.notify_workers("run_jobs")
    tell(job.pk, locked.attempt, "log", {"level": "info", "message": FINISHING})
    record(job.team, user, "finished job early", job)


@transaction.atomic
def resume_job(job: Job, user: User | None) -> None:
    """Queue a paused job again; it goes on from its last checkpoint. Raises ``WrongState``.

    A job that waits on its preflight's advice goes on against it, which is kept with the job.
    """
    against = (job.error or {}).get("code") == PREFLIGHT
    if not move(job.pk, State.QUEUED, guard=Q(state=State.PAUSED)):
        raise _wrong_state(job, "resumed")
    if against:
        Job.objects.filter(pk=job.pk).update(overruled_by=user)
    record(job.team, user, "went on against the preflight's advice" if against else "resumed job", job)
    messages.notify_workers("run_jobs")


def _wrong_state(job: Job, verb: str) -> WrongState:
    job.refresh_from_db()
    return WrongState(f"The job is {job.get_state_display().lower()}, so it cannot be {verb}.")


def queue_position(job: Job) -> int | None:
    """1 for the next job to start; None unless queued."""
    if job.state != State.QUEUED:
        return None
    ahead = Job.objects.filter(state=State.QUEUED, queued_at__lt=job.queued_at or timezone.now())
    return ahead.count() + 1
