"""Create, change, delete and restore environments; make datasets of their tasks."""

from __future__ import annotations

import hashlib

from django.db import transaction

from webapp.environments.models import PYTHON, Environment, EnvironmentVersion, TaskDataset
from webapp.environments.queues import TASK_DATASETS, request_inspection
from webapp.graders import services as graders
from webapp.teams.models import Team, User
from webapp.teams.services import record_event
from workers.contract.json_types import JsonObject
from workers.environments import find_problems
from workers.grading import Problem

OTHER_KIND = "A server plays this environment. Change its connection on its page, or create another one."
REWARD_GRADER: JsonObject = {"type": "environment", "name": "Environment reward"}


class SourceInvalid(ValueError):
    """The source defines no environment. ``problem`` names the line and the reason."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"Line {problem['line']}: {problem['message']}")
        self.problem = problem


def hash_source(source: str, kind: str = PYTHON) -> str:
    """Return the hash of the source. Raises ``SourceInvalid``."""
    if kind == PYTHON and (problems := find_problems(source)):
        raise SourceInvalid(problems[0])
    return hashlib.sha256(source.encode()).hexdigest()


@transaction.atomic
def create_environment(
    team: Team, user: User | None, name: str, source: str, description: str = "", kind: str = PYTHON
) -> Environment:
    """Create an environment with its first version. Raises ``SourceInvalid``."""
    sha256 = hash_source(source, kind)
    environment = Environment.objects.create(team=team, name=name, description=description, created_by=user)
    version = EnvironmentVersion.objects.create(
        environment=environment, number=1, type=kind, source=source, sha256=sha256, created_by=user
    )
    record_event(team, user, "created environment", environment)
    request_inspection(version)
    return environment


@transaction.atomic
def add_version(
    environment: Environment, user: User | None, source: str, note: str = "", kind: str = PYTHON
) -> tuple[EnvironmentVersion, bool]:
    """Return the version with this source, and True if it is new.

    The newest version's own source makes no version. ``note`` says what changed. Raises ``SourceInvalid``.
    """
    latest = Environment.objects.select_for_update().get(pk=environment.pk).versions.first()
    if latest and latest.type != kind:
        raise SourceInvalid({"line": 1, "column": 1, "message": OTHER_KIND})
    sha256 = hash_source(source, kind)
    if latest and latest.sha256 == sha256:
        return latest, False
    version = EnvironmentVersion.objects.create(
        environment=environment, number=latest.number + 1 if latest else 1, type=kind, source=source,
        sha256=sha256, note=note, created_by=user,
    )  # fmt: skip
    record_event(environment.team, user, "saved environment", version)
    request_inspection(version)
    return version, True


@transaction.atomic
def describe_environment(environment: Environment, user: User, name: str, description: str) -> None:
    """Change the environment's name and description. Pages of its jobs show the new name too."""
    changed = f"{environment.name} to {name}" if name != environment.name else name
    environment.name, environment.description = name, description
    environment.save(update_fields=["name", "description"])
    record_event(environment.team, user, "described environment", changed)


@transaction.atomic
def delete_environment(environment: Environment, user: User | None) -> None:
    """Hide the environment. Its versions stay: jobs pin them."""
    if environment.mark_deleted():
        record_event(environment.team, user, "deleted environment", environment)


@transaction.atomic
def restore_environment(environment: Environment, user: User) -> None:
    """Undo ``delete_environment``."""
    if environment.mark_restored():
        record_event(environment.team, user, "restored environment", environment)


@transaction.atomic
def request_task_dataset(version: EnvironmentVersion, user: User | None, most: int) -> TaskDataset:
    """Enqueue a dataset version of the version's tasks, ``most`` of each split.

    The environment's first one makes a dataset of its name; later ones become versions of it. The team gets a
    grader that returns the environment's reward, unless it has one.
    """
    environment = version.environment
    earlier = TaskDataset.objects.filter(
        version__environment=environment, dataset__deleted_at=None, dataset__isnull=False
    ).select_related("dataset")
    last = earlier.first()
    made = TaskDataset.objects.create(
        team=environment.team, version=version, most=most, dataset=last.dataset if last else None,
        created_by=user,
    )  # fmt: skip
    graders.find_or_create_version(environment.team, user, REWARD_GRADER)
    record_event(environment.team, user, "created a dataset of the tasks of", version)
    TASK_DATASETS.notify(made.pk)
    return made
