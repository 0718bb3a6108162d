"""The sample project: short business texts, answered with JSON, their grader, and a refund desk."""

from __future__ import annotations

import json

from django.conf import settings
from django.core.files import File
from django.db import transaction

from webapp.datasets.models import Dataset
from webapp.datasets.uploads.services import Choices, commit_upload, receive_file
from webapp.datasets.uploads.validation import Options
from webapp.environments.models import Environment
from webapp.environments.services import create_environment, request_task_dataset
from webapp.graders.models import Grader
from webapp.graders.services import create_grader
from webapp.teams.models import Team, User
from workers.environments.examples import list_examples

FOLDER = settings.BASE_DIR / "workers" / "starter" / "sample"
DATASET = "Sample: invoices, orders, tickets"
GRADER = "Sample: share of right fields"
HACKABLE = "Sample: invoice fields (hackable)"
ENVIRONMENT = "Sample: refund desk"
MOST_TASKS = 240  # of a split: all that the refund desk has


@transaction.atomic
def create_sample_project(team: Team, user: User) -> tuple[Dataset, Grader]:
    """Create the sample dataset and grader, unless the team has them already.

    A hackable grader is created too, to show what checks catch.
    """
    Team.objects.select_for_update().get(pk=team.pk)
    dataset = team.datasets.alive().filter(name=DATASET).first() or _create_dataset(team, user)
    if not team.graders.filter(name=HACKABLE).exists():
        source = (FOLDER / "hackable.py").read_text(encoding="utf-8")
        create_grader(team, user, HACKABLE, {"type": "python", "name": "field_names", "source": source})
    grader = team.graders.alive().filter(name=GRADER).first()
    if grader is None:
        definition = json.loads((FOLDER / "grader.json").read_text(encoding="utf-8"))
        grader = create_grader(team, user, GRADER, definition)
    return dataset, grader


@transaction.atomic
def create_sample_environment(team: Team, user: User) -> Environment:
    """Create the refund desk, unless the team has it already; a worker makes a dataset of its tasks."""
    Team.objects.select_for_update().get(pk=team.pk)
    environment = team.environments.alive().filter(name=ENVIRONMENT).first()
    if environment is None:
        (example,) = (each for each in list_examples() if each.key == "refund_desk")
        environment = create_environment(team, user, ENVIRONMENT, example.source, example.summary[:200])
        request_task_dataset(environment.versions.get(), user, MOST_TASKS)
    return environment


def _create_dataset(team: Team, user: User) -> Dataset:
    with (FOLDER / "dataset.jsonl").open("rb") as stream:
        upload = receive_file(team, user, DATASET, File(stream, name="dataset.jsonl"), Options())
    version, _ = commit_upload(upload, user, Choices())
    return version.dataset
