"""What somebody asks for when they launch a job. ``launch.service.launch`` checks it and writes the job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from webapp.datasets.models import DatasetVersion
from webapp.environments.models import EnvironmentVersion
from webapp.graders.models import GraderVersion
from webapp.jobs.models import Job
from webapp.jobs.models.job import SftSource
from webapp.registry.models import BaseModel, TunedModel
from webapp.teams.models import Team, User
from workers.contract.json_types import JsonObject
from workers.contract.spec import JobSettings


@dataclass(frozen=True)
class TaskChoice:
    """Rows and their grader. ``weight`` is the task's relative share of a step's prompts.

    Rows of an environment are played in ``environment_version``. The only task of a job has no name.
    """

    name: str
    dataset_version: DatasetVersion
    grader_version: GraderVersion
    weight: float = 1.0
    environment_version: EnvironmentVersion | None = None


@dataclass(frozen=True)
class SuiteChoice:
    """A suite: a built-in one by its key, or rows and a grader of the team."""

    name: str
    built_in: str = ""
    dataset_version: DatasetVersion | None = None
    grader_version: GraderVersion | None = None
    max_loss: float | None = None


@dataclass(frozen=True)
class JobRequest:
    """A job as its form, a clone, a control run or the API asks for it.

    ``settings`` are sections of ``JobSettings``; what they leave out takes its default. ``total_steps`` is
    computed unless the method counts its own. ``suffix`` goes into the name of the tuned model; without one
    the job's name does. ``asked`` is the API request, to show it again.
    """

    team: Team
    user: User | None
    name: str
    base_model: BaseModel
    tasks: Sequence[TaskChoice]
    settings: JobSettings | Mapping[str, object]
    suites: Sequence[SuiteChoice] = ()
    initial_adapter: TunedModel | None = None
    held_out_grader: GraderVersion | None = None
    method: str = "rft"
    sft: SftSource | None = None
    control_of: Job | None = None
    interference_of: Job | None = None
    cloned_from: Job | None = None
    total_steps: int | None = None
    ticket: str = ""
    suffix: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    asked: JsonObject = field(default_factory=dict)


def single_task(
    dataset_version: DatasetVersion,
    grader_version: GraderVersion,
    environment: EnvironmentVersion | None = None,
) -> list[TaskChoice]:
    """The task of a job that has one."""
    return [TaskChoice("", dataset_version, grader_version, environment_version=environment)]


def task_choices(job: Job) -> list[TaskChoice]:
    """The job's tasks, to request them again; none while its rows are being made."""
    named = [
        TaskChoice(
            task.name, task.dataset_version, task.grader_version, task.weight, task.environment_version
        )
        for task in job.loaded_tasks
    ]
    if named or job.dataset_version is None:
        return named
    return single_task(job.dataset_version, job.grader_version, job.environment_version)


def suite_choices(job: Job) -> list[SuiteChoice]:
    """The job's suites, to request them again."""
    suites = job.suites.select_related("dataset_version__dataset", "grader_version__grader")
    return [SuiteChoice(s.name, s.built_in, s.dataset_version, s.grader_version, s.max_loss) for s in suites]
