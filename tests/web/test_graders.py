"""Graders: versions that never change, imports that name the wrong field, trials on train rows only."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from django.test import Client

from webapp.graders.examples import EXAMPLES
from webapp.graders.models import Grader, GraderTrial
from webapp.graders.services import add_version, create_grader, sample_rows
from webapp.teams.models import Team, User
from webapp.teams.sample import create_sample_project

SignIn = Callable[[User], Client]


@pytest.fixture
def grader(team: Team, alice: User) -> Grader:
    return create_grader(team, alice, "Exact", EXAMPLES["string_check"])


@pytest.mark.parametrize("kind", EXAMPLES)
def test_every_example_can_be_started_from(kind: str, team: Team, alice: User, as_user: SignIn) -> None:
    form = {"name": "Mine", "kind": kind}
    answer = as_user(alice).post(f"/t/{team.slug}/graders/new/", form, follow=True)
    assert answer.status_code == 200
    assert Grader.objects.get(name="Mine").versions.get().definition["type"] == kind


def test_unchanged_text_makes_no_version_and_old_versions_stay(grader: Grader, alice: User) -> None:
    changed = EXAMPLES["string_check"] | {"operation": "ilike"}
    assert add_version(grader, alice, EXAMPLES["string_check"])[1] is False
    version, new = add_version(grader, alice, changed)
    assert new
    assert version.number == 2
    assert grader.versions.get(number=1).definition["operation"] == "eq"


@pytest.mark.parametrize(
    ("definition", "said"),
    [
        ("{", "This is not JSON"),
        ('{"type": "string_check", "input": "a", "reference": "b", "operation": "like it"}', "operation"),
        ('{"type": "python", "source": "def grade(:"}', "source"),
        (json.dumps(EXAMPLES["multi"] | {"calculate_output": "exact + nobody"}), "calculate_output"),
    ],
)
def test_an_import_names_the_field_that_is_wrong(
    definition: str, said: str, team: Team, alice: User, as_user: SignIn
) -> None:
    form = {"name": "Imported", "definition": definition}
    answer = as_user(alice).post(f"/t/{team.slug}/graders/new/", form)
    assert answer.status_code == 422
    assert said in answer.content.decode()
    assert not Grader.objects.filter(name="Imported").exists()


def test_export_gives_back_what_was_imported(
    grader: Grader, team: Team, alice: User, as_user: SignIn
) -> None:
    answer = as_user(alice).get(f"/t/{team.slug}/graders/{grader.uid}/v1/grader.json")
    assert answer.json() == EXAMPLES["string_check"]


def test_syntax_errors_are_found_without_running_the_source(
    team: Team, alice: User, as_user: SignIn, tmp_path: Path
) -> None:
    source = f"open({str(tmp_path)!r} + '/ran', 'w')\ndef grade(sample, item)\n    return 1.0\n"
    answer = as_user(alice).post(f"/t/{team.slug}/graders/lint/", {"source": source})
    assert [problem["line"] for problem in answer.json()["problems"]] == [2]
    assert not list(tmp_path.iterdir())


def test_a_viewer_reads_but_neither_saves_nor_tries(
    grader: Grader, team: Team, bob: User, as_user: SignIn
) -> None:
    client, address = as_user(bob), f"/t/{team.slug}/graders/{grader.uid}/"
    assert client.get(address).status_code == 200
    assert client.post(address, {"definition": "{}"}).status_code == 403
    assert client.post(f"/t/{team.slug}/graders/try/", {}).status_code == 403


def test_a_trial_takes_its_rows_from_the_train_split(team: Team, alice: User, as_user: SignIn) -> None:
    dataset, sample = create_sample_project(team, alice)
    version = dataset.versions.get()
    form = {
        "definition": json.dumps(sample.versions.get().definition),
        "version": version.pk,
        "count": 5,
        "answers": "field",
        "field": "reference",
    }
    as_user(alice).post(f"/t/{team.slug}/graders/try/", form)
    trial = GraderTrial.objects.get()
    train = {row["row_id"] for row in sample_rows(version, 5)}
    assert {row["row_id"] for row in trial.rows} == train
    assert json.loads(trial.rows[0]["answer"]) == trial.rows[0]["item"]["reference"]


def test_model_text_is_escaped_in_results(team: Team, alice: User, as_user: SignIn) -> None:
    attack = "<script>alert(1)</script>"
    trial = GraderTrial.objects.create(
        team=team,
        definition={},
        rows=[{"row_id": "r", "messages": [{"role": "user", "content": attack}], "item": {}}],
        state=GraderTrial.State.FINISHED,
        results=[{"row_id": "r", "answer": attack, "reward": None, "sub_rewards": {}, "seconds": 0.1,
                  "error_class": "other_error", "error_detail": attack, "stdout": attack}],
    )  # fmt: skip
    page = as_user(alice).get(f"/t/{team.slug}/graders/trials/{trial.uid}/").content.decode()
    assert attack not in page
    assert page.count("&lt;script&gt;") == 4
