"""The tasks of an environment become an ordinary dataset version."""

from __future__ import annotations

from tests.web.stored import rows_of
from webapp.environments.models import EnvironmentVersion, TaskDataset
from webapp.environments.services import add_version, create_environment, request_task_dataset
from webapp.teams.models import Team, User
from workers.bridge.environments import make_task_dataset
from workers.environments.examples import list_examples

State = TaskDataset.State
SOURCE = list_examples()[0].source


def made(version: EnvironmentVersion, user: User, most: int = 20) -> TaskDataset:
    item = request_task_dataset(version, user, most)
    make_task_dataset(item.pk)
    item.refresh_from_db()
    return item


def test_rows_carry_prompt_tools_and_task_in_the_environment_s_splits(team: Team, alice: User) -> None:
    environment = create_environment(team, alice, "Numbers", SOURCE)
    item = made(environment.versions.get(), alice)
    assert item.state == State.FINISHED, item.error
    version = item.dataset_version
    assert version
    assert version.dataset.name == "Numbers"
    counts = {split: file["rows"] for split, file in version.files.items()}
    assert counts == {"train": 20, "validation": 20, "test": 20}
    row = rows_of(version.files["train"]["key"])[0]
    assert [message["role"] for message in row["messages"]] == ["system", "user"]
    assert row["messages"][1]["content"].startswith("I think of a number")
    assert row["item"] == {"seed": 0}
    assert row["tools"][0]["function"]["name"] == "guess"


def test_the_next_one_is_a_version_of_the_same_dataset(team: Team, alice: User) -> None:
    environment = create_environment(team, alice, "Numbers", SOURCE)
    first = made(environment.versions.get(), alice).dataset_version
    changed, _ = add_version(environment, alice, SOURCE.replace("I think of", "There is"))
    second = made(changed, alice).dataset_version
    assert first
    assert second
    assert (second.dataset, second.number) == (first.dataset, 2)


def test_equal_prompts_are_no_overlap_since_their_tasks_differ(team: Team, alice: User) -> None:
    source = SOURCE.replace(" Game {seed}.", "")
    item = made(create_environment(team, alice, "Numbers", source).versions.get(), alice)
    assert item.dataset_version
    assert item.dataset_version.rows == 60
    assert item.dataset_version.report["overlap"]["prompts"] == 0


def test_tasks_that_cannot_be_rows_say_why(team: Team, alice: User) -> None:
    for found, instead, reason in (
        ('"test"]', '"exam"]', "a split 'exam'"),
        ('{"seed": seed}', '{"seed": seed, "tools": 1}', "a field 'tools'"),
        ("self.found = False", "self.found = 1 / 0", "ZeroDivisionError"),
    ):
        source = SOURCE.replace(found, instead).replace('"test": 2', '"test": 2, "exam": 2')
        source = source.replace("seed: int)", "seed: int, tools: int = 0)")
        item = made(create_environment(team, alice, "Numbers", source).versions.get(), alice)
        assert item.state == State.FAILED
        assert item.error
        assert reason in item.error.message
        assert item.error.remedy
