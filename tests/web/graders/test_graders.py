"""Graders: versions never change, imports name the wrong field, the lint never runs code."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from webapp.graders.definitions.parsing import find_item_fields, find_problems
from webapp.graders.definitions.positions import Position, find_position
from webapp.graders.models import Grader
from webapp.graders.services import add_version, create_grader
from webapp.teams.models import Team, User
from workers.grading import KINDS, open_grader, validate
from workers.grading.kinds.python import EXAMPLE_SOURCE

SignIn = Callable[[User], Client]
# Keys in an order that no database would choose, a spelling that normalising changes, fields it drops.
WRITTEN = """{
  "reference": "{{item.label}}",
  "type": "string_check",
  "operation": "neq",
  "pass_threshold": 0.5,
  "input": "{{ sample.output_text }}",
  "name": "differs"
}"""


@pytest.fixture
def grader(team: Team, alice: User) -> Grader:
    return create_grader(team, alice, "Exact", KINDS["string_check"].example)


@pytest.mark.parametrize("kind", KINDS)
def test_every_example_can_be_started_from(kind: str, team: Team, alice: User, as_user: SignIn) -> None:
    form = {"name": "Mine", "kind": kind}
    answer = as_user(alice).post(f"/t/{team.slug}/graders/new/", form, follow=True)
    assert answer.status_code == 200
    assert Grader.objects.get(name="Mine").versions.get().definition["type"] == kind


RIGHT: dict[str, tuple[str, Any]] = {
    "string_check": ("Paris", "Paris"),
    "text_similarity": ("in Paris", "in Paris"),
    "python": ('{"city": "Paris"}', {"city": "Paris"}),
    "multi": ("in Paris", "in Paris"),
    "json_schema": ('{"amount": "9", "currency": "eur"}', {"amount": "9", "currency": "EUR"}),
    "regex": ("So:\nAnswer: 42 ", "42"),
    "math": ("$\\frac{1}{2}$", "0.5"),
    "sql": ("select sum(total) from orders", "select 90.0"),
}


@pytest.mark.parametrize("kind", RIGHT)
def test_every_example_of_code_pays_what_is_right_and_nothing_for_nothing(kind: str) -> None:
    answer, reference = RIGHT[kind]
    with open_grader(validate(KINDS[kind].example)) as grade:
        right, empty = grade([(answer, {"reference": reference}), ("", {"reference": reference})])
    assert (right.reward, right.error_detail) == (1.0, None)
    assert empty.reward == 0.0


def test_there_is_an_example_of_every_kind_and_our_own_are_named_as_such(
    team: Team, alice: User, as_user: SignIn
) -> None:
    page = as_user(alice).get(f"/t/{team.slug}/graders/new/").content.decode()
    theirs, ours = page.split("Groove's own" if "Groove's own" in page else "Groove&#x27;s own")
    for kind in KINDS.values():
        assert f'value="{kind.type}"' in (theirs if kind.is_openai else ours)


def test_unchanged_meaning_makes_no_version_and_old_versions_stay(grader: Grader, alice: User) -> None:
    changed = KINDS["string_check"].example | {"operation": "ilike"}
    assert add_version(grader, alice, KINDS["string_check"].example)[1] is False
    version, new = add_version(grader, alice, changed)
    assert new
    assert version.number == 2
    assert grader.versions.get(number=1).definition["operation"] == "eq"


def test_an_import_gives_back_the_same_json(team: Team, alice: User, as_user: SignIn) -> None:
    client = as_user(alice)
    answer = client.post(f"/t/{team.slug}/graders/import/", {"definition": WRITTEN})
    exported = client.get(f"{answer['Location']}v1/grader.json").content.decode()
    assert Grader.objects.get().name == "differs"
    assert exported == WRITTEN


def test_the_grader_of_a_whole_job_is_imported_from_a_file(team: Team, alice: User, as_user: SignIn) -> None:
    job = {
        "model": "m", "training_file": "file-1",
        "method": {"type": "reinforcement", "reinforcement": {"grader": KINDS["multi"].example}},
    }  # fmt: skip
    file = SimpleUploadedFile("job.json", b"\xef\xbb\xbf" + json.dumps(job).encode())
    as_user(alice).post(f"/t/{team.slug}/graders/import/", {"name": "From a job", "file": file})
    assert Grader.objects.get(name="From a job").versions.get().definition == KINDS["multi"].example


JOB_WITH_TYPO = """{
 "model": "m",
 "method": {"type": "reinforcement", "reinforcement": {"grader": {
   "type": "string_check", "name": "g", "input": "a",
   "operation": "equals",
   "reference": "b"}}}
}"""


@pytest.mark.parametrize(
    ("definition", "param", "line"),
    [
        ('{"type": "string_check",\n', "", 2),
        ("", "", 1),
        ("[1]", "", 1),
        ('{"type": "strang_check"}', "type", 1),
        (JOB_WITH_TYPO, "method.reinforcement.grader.operation", 5),
        ('{"type": "python",\n "name": "g",\n "source": "def grade(:"}', "source", 3),
        ('{"type": "python",\n "source": "def grade(a, b): return 1",\n "extra": 1}', "extra", 3),
        (
            json.dumps(KINDS["multi"].example | {"calculate_output": "exact + x"}, indent=1),
            "calculate_output",
            20,
        ),
        (json.dumps(KINDS["rubric"].example | {"model": None}, indent=1), "", 1),
    ],
)
def test_an_import_names_the_field_that_is_wrong_and_its_line(
    definition: str, param: str, line: int, team: Team, alice: User, as_user: SignIn
) -> None:
    form = {"name": "Imported", "definition": definition}
    answer = as_user(alice).post(f"/t/{team.slug}/graders/import/", form)
    assert answer.status_code == 422
    invalid = answer.context["form"].invalid
    assert (invalid.param, invalid.position.line) == (param, line)
    assert param in answer.content.decode()
    assert f"Line {line}:" in answer.content.decode()
    assert not Grader.objects.exists()
    lint = as_user(alice).post(f"/t/{team.slug}/graders/lint/", {"definition": definition}).json()
    assert [problem["line"] for problem in lint["problems"]] == [line]


def test_a_place_is_found_behind_strange_keys_and_in_lists() -> None:
    text = '{"a.b": {"c": [10, {"name": "x",\n "d": "}]\\""}]},\n "a": 1}'
    assert find_position(text, "a.b.c.x.d") == Position(2, 2)
    assert find_position(text, "a.b.c.0") == Position(1, 16)
    assert find_position(text, "a") == Position(3, 2)
    assert find_position(text, "a.b.c.7.z") == Position(1, 10)
    assert find_position(text, "nothing") == Position(1, 1)


def test_a_text_nested_without_end_is_a_problem_and_no_crash() -> None:
    assert len(find_problems("[" * 100_000)) == 1
    assert len(find_problems('{"type":"multi","graders":' + '{"a":' * 5_000 + "1" + "}" * 5_001)) == 1


def test_syntax_errors_are_found_without_running_the_source(
    team: Team, alice: User, as_user: SignIn, tmp_path: Path
) -> None:
    source = f"open({str(tmp_path)!r} + '/ran', 'w')\ndef grade(sample, item)\n    return 1.0\n"
    answer = as_user(alice).post(f"/t/{team.slug}/graders/lint/", {"source": source})
    assert [problem["line"] for problem in answer.json()["problems"]] == [2]
    assert not list(tmp_path.iterdir())


def test_a_new_source_keeps_the_name_that_was_imported(team: Team, alice: User, as_user: SignIn) -> None:
    grader = create_grader(team, alice, "P", KINDS["python"].example | {"image_tag": "2025-05-08"})
    source = "def grade(sample, item):\r\n    return 1.0\r\n"
    as_user(alice).post(grader.get_absolute_url(), {"source": source})
    newest = grader.versions.get(number=2).definition
    assert newest == KINDS["python"].example | {"image_tag": "2025-05-08", "source": source.replace("\r", "")}


@pytest.mark.parametrize(
    ("definition", "fields"),
    [
        (KINDS["string_check"].example, ["reference"]),
        (KINDS["python"].example, ["reference"]),
        (KINDS["score_model"].example, ["reference"]),
        ({"type": "python", "source": "def grade(s, row):\n return row['a'] + row.get('b', 0)"}, ["a", "b"]),
        ({"type": "string_check", "input": "{{ item['Unit price'] }}{{item.a.b[0]}}"}, ["Unit price", "a"]),
    ],
)
def test_the_fields_that_a_grader_reads_are_known(definition: dict[str, Any], fields: list[str]) -> None:
    assert find_item_fields(definition) == fields


def test_a_viewer_reads_but_neither_saves_nor_tries(
    grader: Grader, team: Team, bob: User, as_user: SignIn
) -> None:
    client, address = as_user(bob), f"/t/{team.slug}/graders/{grader.uid}/"
    assert client.get(address).status_code == 200
    assert client.post(address, {"definition": "{}"}).status_code == 403
    assert client.post(f"/t/{team.slug}/graders/try/", {}).status_code == 403
    assert "Save known answer" not in client.get(address).content.decode()


def test_a_grader_that_cannot_be_saved_is_shown_as_it_was_typed(
    team: Team, alice: User, as_user: SignIn
) -> None:
    grader = create_grader(team, alice, "P", KINDS["python"].example)
    broken = EXAMPLE_SOURCE.replace("def grade(sample, item):", "def grade(sample, item)")
    answer = as_user(alice).post(grader.get_absolute_url(), {"source": broken})
    assert answer.status_code == 422
    assert "def grade(sample, item)\n" in answer.content.decode()
    emptied = as_user(alice).post(grader.get_absolute_url(), {"source": ""}).content.decode()
    assert "no function grade(sample, item)" in emptied
    assert 'id="id_source"' in emptied
    assert grader.versions.count() == 1
