"""Rows that one task trains on and another holds out are found before the launch."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from webapp.datasets.content.rows import Split
from webapp.datasets.models import DatasetVersion
from webapp.datasets.uploads.services import Choices, commit_upload, receive_file
from webapp.datasets.uploads.validation import Options
from webapp.graders.models import Grader, GraderVersion
from webapp.jobs.launch.overlaps import find_overlaps
from webapp.jobs.launch.request import TaskChoice
from webapp.registry.services import ensure_starter_model
from webapp.teams.models import Team, User

SignIn = Callable[[User], Client]
GRADER = {
    "type": "string_check",
    "name": "g",
    "input": "{{sample.output_text}}",
    "reference": "x",
    "operation": "eq",
}


def version(team: Team, user: User, name: str, **prompts: list[str]) -> DatasetVersion:
    """A version whose splits hold these prompts."""
    rows = [
        {"messages": [{"role": "user", "content": prompt}], "split": split, "set": name}
        for split, found in prompts.items()
        for prompt in found
    ]
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    made, _ = commit_upload(
        receive_file(team, user, name, SimpleUploadedFile("a.jsonl", data), Options()), user, Choices()
    )
    return made


@pytest.fixture
def tasks(team: Team, alice: User) -> list[TaskChoice]:
    one = version(team, alice, "one", train=["a", "b", "C  d", "e"], validation=["v"], test=["t"])
    two = version(team, alice, "two", train=["x", "v"], validation=["a"], test=["b", "c D", "z"])
    grader = Grader.objects.create(team=team, name="G")
    made = GraderVersion.objects.create(grader=grader, number=1, definition=GRADER, sha256="1" * 64)
    return [TaskChoice("one", one, made), TaskChoice("two", two, made)]


def test_training_rows_that_another_task_holds_out_are_counted_and_linked(
    tasks: list[TaskChoice], as_user: SignIn, alice: User
) -> None:
    found = {(each.trained, each.held_out, each.split): each for each in find_overlaps(tasks)}
    assert {key: each.count for key, each in found.items()} == {
        ("task one", "task two", Split.TEST): 2,
        ("task one", "task two", Split.VALIDATION): 1,
        ("task two", "task one", Split.VALIDATION): 1,
    }
    page = as_user(alice).get(found["task one", "task two", Split.TEST].examples[1])
    assert "C  d" in page.text


def test_a_suites_rows_are_compared_too_and_one_dataset_does_not_overlap_itself(
    tasks: list[TaskChoice],
) -> None:
    one, two = tasks
    assert find_overlaps([one]) == []
    assert find_overlaps([one, TaskChoice("again", one.dataset_version, one.grader_version)]) == []
    (found,) = find_overlaps([one], [("capitals", two.dataset_version)])
    assert (found.held_out, found.split, found.count) == ("suite capitals", Split.VALIDATION, 1)


def test_the_launch_form_says_it_before_the_launch(
    team: Team, alice: User, as_user: SignIn, tasks: list[TaskChoice]
) -> None:
    ensure_starter_model()
    client, url = as_user(alice), reverse("jobs:new", args=[team.slug])
    assert "Held-out rows among the training rows" not in client.get(url).text
    filled: dict[str, Any] = {
        "tasks-TOTAL_FORMS": "2", "tasks-INITIAL_FORMS": "0",
        "dataset_version": tasks[0].dataset_version.uid, "grader_version": tasks[0].grader_version.uid,
        "tasks-0-name": "one", "tasks-1-name": "two",
        "tasks-1-dataset_version": tasks[1].dataset_version.uid,
        "tasks-1-grader_version": tasks[1].grader_version.uid,
    }  # fmt: skip
    redrawn = client.get(url, filled, headers={"hx-request": "true"}).text
    assert "Held-out rows among the training rows" in redrawn
    assert "2 training rows of task one have the prompt of a row in the test split of task two" in " ".join(
        redrawn.split()
    )
