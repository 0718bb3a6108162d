"""Graders: make versions, try them on rows, throw them away and bring them back."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import pydantic_core
from django.core.files.storage import default_storage
from django.db import transaction
from django.utils import timezone

from webapp.datasets.models import DatasetVersion
from webapp.jobs import bell
from webapp.registry.models import BaseModel
from webapp.teams.models import Team, User
from webapp.teams.services import record
from workers import grading

from .models import Grader, GraderTrial, GraderVersion

MAX_TRIAL_ROWS = 50
Json = dict[str, Any]


def _canonical(definition: Json) -> tuple[Json, str]:
    """The normalised definition and its hash. Raises ``grading.GraderInvalid``."""
    grader = grading.validate(definition)
    return grader.model_dump(mode="json", exclude_none=True), grading.sha256(grader)


@transaction.atomic
def create_grader(team: Team, user: User | None, name: str, definition: Json) -> Grader:
    """A new grader with its first version. Raises ``workers.grading.GraderInvalid``."""
    canonical, sha256 = _canonical(definition)
    grader = Grader.objects.create(team=team, name=name, created_by=user)
    GraderVersion.objects.create(
        grader=grader, number=1, definition=canonical, sha256=sha256, created_by=user
    )
    record(team, user, "created grader", grader)
    return grader


@transaction.atomic
def add_version(grader: Grader, user: User | None, definition: Json) -> tuple[GraderVersion, bool]:
    """The version that holds ``definition``, and whether it is new: unchanged text makes no version.

    Raises ``workers.grading.GraderInvalid``.
    """
    canonical, sha256 = _canonical(definition)
    latest = Grader.objects.select_for_update().get(pk=grader.pk).versions.first()
    if latest and latest.sha256 == sha256:
        return latest, False
    version = GraderVersion.objects.create(
        grader=grader,
        number=latest.number + 1 if latest else 1,
        definition=canonical,
        sha256=sha256,
        created_by=user,
    )
    record(grader.team, user, "saved grader", version)
    return version, True


@transaction.atomic
def delete_grader(grader: Grader, user: User) -> None:
    """Hide the grader. Its versions stay: jobs pin them."""
    grader.deleted_at = timezone.now()
    grader.save(update_fields=["deleted_at"])
    record(grader.team, user, "deleted grader", grader)


@transaction.atomic
def restore_grader(grader: Grader, user: User) -> None:
    """Undo ``delete_grader``."""
    grader.deleted_at = None
    grader.save(update_fields=["deleted_at"])
    record(grader.team, user, "restored grader", grader)


def _rows(version: DatasetVersion, split: str) -> Iterator[Json]:
    with default_storage.open(version.files[split]["key"], "rb") as file:
        for line in file:
            yield pydantic_core.from_json(line)


def sample_rows(version: DatasetVersion, count: int) -> list[Json]:
    """The first rows of the train split; the test split stays sealed."""
    return list(islice(_rows(version, "train"), min(count, MAX_TRIAL_ROWS)))


@transaction.atomic
def create_trial(
    team: Team, user: User, definition: Json, rows: list[Json], base_model: BaseModel | None = None
) -> GraderTrial:
    """Have a worker grade ``rows`` in the sandbox.

    Each row carries its ``answer``; where it has none, ``base_model`` writes one. Raises
    ``workers.grading.GraderInvalid``.
    """
    canonical, _ = _canonical(definition)
    trial = GraderTrial.objects.create(
        team=team, definition=canonical, rows=rows, base_model=base_model, created_by=user
    )
    bell.ring("run_trial", trial.pk)
    return trial
