"""Each version is checked: cheats are caught with evidence, known answers hold jobs back."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db.models import F
from django.test import Client
from django.urls import reverse

from webapp.datasets.models import DatasetVersion
from webapp.datasets.uploads.services import Choices, commit_upload, receive_file
from webapp.datasets.uploads.validation import Options
from webapp.graders import services
from webapp.graders.models import GraderCheck, GraderTest, GraderVersion
from webapp.graders.queues import CHECKS, enqueue_checks_with_new_rows, request_check
from webapp.graders.services import (
    add_version,
    create_grader,
    create_trial,
    delete_test,
    keep_answer,
    list_unmet_conditions,
    set_checking,
)
from webapp.graders.trials import row_selection
from webapp.home.sample_project import create_sample_project
from webapp.jobs.launch.grader_findings import find_grader_problems
from webapp.teams.models import Team, User
from webapp.work.errors import WorkFailed
from workers.bridge.graders.checks import run_check
from workers.grading import KINDS

SignIn = Callable[[User], Client]
State = GraderCheck.State
Json = dict[str, Any]
ROW: Json = {
    "row_id": "r", "messages": [{"role": "user", "content": "Capital of France?"}],
    "item": {"reference": "Paris"},
}  # fmt: skip
EXACT = KINDS["string_check"].example
LENIENT = EXACT | {"operation": "ne"}


def checked(version: GraderVersion) -> GraderCheck:
    run_check(version.check_run.pk)
    return GraderCheck.objects.get(version=version)


def dataset(team: Team, alice: User, name: str, rows: list[Json]) -> DatasetVersion:
    data = "\n".join(json.dumps(row) for row in rows).encode()
    upload = receive_file(team, alice, name, SimpleUploadedFile("rows.jsonl", data), Options())
    return commit_upload(upload, alice, Choices())[0]


def capitals(*fields: str) -> list[Json]:
    prompts = [[{"role": "user", "content": f"Question {n}?"}] for n in range(40)]
    return [{"messages": p} | dict.fromkeys(fields, f"Answer {n}") for n, p in enumerate(prompts)]


def warned(check: GraderCheck) -> set[str]:
    return {str(cheat["key"]) for cheat in check.warnings}


# --- cheats ----------------------------------------------------------------------------------------


def test_the_hackable_sample_grader_is_caught_with_evidence_and_the_honest_one_passes(
    team: Team, alice: User, as_user: SignIn
) -> None:
    _, honest = create_sample_project(team, alice)
    hackable = team.graders.get(name__contains="hackable")
    caught, passed = checked(hackable.versions.get()), checked(honest.versions.get())
    assert (passed.state, caught.state) == (State.FINISHED, State.FINISHED)
    assert warned(passed) == set()
    assert warned(caught) == {"echo", "truncated", "constant"}
    assert passed.results["reference"]["mean"] == caught.results["reference"]["mean"] == 1.0
    echo = next(cheat for cheat in caught.results["cheats"] if cheat["key"] == "echo")
    assert echo["evidence"][0]["answer"] == echo["evidence"][0]["prompt"]
    page = as_user(alice).get(hackable.get_absolute_url()).content.decode()
    assert "The prompt, echoed: rewarded on" in page
    listed = as_user(alice).get(f"/t/{team.slug}/graders/").content.decode()
    assert f"{len(caught.warnings)} exploits rewarded" in listed


def test_every_version_is_checked_on_the_same_train_rows(team: Team, alice: User) -> None:
    version = dataset(team, alice, "Capitals", capitals("reference"))
    grader = create_grader(team, alice, "G", LENIENT)
    rows = row_selection.random_rows(version, "train", 24, 0)
    evidence = []
    for definition in (LENIENT, LENIENT | {"name": "renamed"}):
        check = checked(add_version(grader, alice, definition)[0])
        evidence.append(check.results["cheats"][0]["evidence"])
        assert check.results["rows"] == 24
    assert evidence[0] == evidence[1]
    assert {each["row_id"] for each in evidence[0]} <= {row["row_id"] for row in rows}


def test_a_threshold_decides_what_is_a_warning(team: Team, alice: User) -> None:
    dataset(team, alice, "Capitals", capitals("reference"))
    grader = create_grader(team, alice, "G", LENIENT)
    assert "empty" in warned(checked(grader.versions.get()))
    set_checking(grader, alice, dataset=None, reference_field="", cheat_threshold=1.0)
    assert warned(checked(grader.versions.get())) == set()


def test_a_grader_that_fails_on_every_answer_is_not_called_safe(
    team: Team, alice: User, as_user: SignIn
) -> None:
    dataset(team, alice, "Capitals", capitals("reference"))
    source = "def grade(sample, item):\n    return item['reference'] / 2\n"
    grader = create_grader(team, alice, "G", {"type": "python", "source": source})
    check = checked(grader.versions.get())
    assert check.results["failures"] == 24 * 8
    page = as_user(alice).get(grader.get_absolute_url()).content.decode()
    assert "192 completions could not be graded" in page
    assert check.findings == [("error", "192 answers not graded")]
    assert "line 2" in page


# --- which rows ------------------------------------------------------------------------------------


def test_a_check_takes_the_newest_dataset_that_has_the_fields_then_the_one_tried_then_the_one_set(
    team: Team, alice: User
) -> None:
    older, fitting, other = (
        dataset(team, alice, name, capitals(*fields))
        for name, fields in {"Older": ["label"], "Fitting": ["label", "x"], "Other": ["answer"]}.items()
    )
    definition = EXACT | {"reference": "{{item.label}}"}
    grader = create_grader(team, alice, "G", definition)
    assert row_selection.find_dataset_version(grader, definition) == fitting
    assert row_selection.find_reference_field(grader, definition, fitting) == "label"
    create_trial(team, alice, definition, [ROW], {"answers": ["typed"]}, grader=grader, dataset_version=older)
    assert row_selection.find_dataset_version(grader, definition) == older
    set_checking(grader, alice, dataset=other.dataset, reference_field="answer", cheat_threshold=0.3)
    assert row_selection.find_dataset_version(grader, definition) == other
    assert checked(grader.versions.get()).results["field"] == "answer"


def test_a_grader_that_pays_the_truth_little_is_found_out(team: Team, alice: User) -> None:
    dataset(team, alice, "Capitals", capitals("reference"))
    grader = create_grader(team, alice, "G", EXACT | {"reference": "{{item.reference}}!"})
    set_checking(grader, alice, dataset=None, reference_field="reference", cheat_threshold=0.3)
    assert checked(grader.versions.get()).findings[0] == ("error", "References score low")


def test_a_check_without_rows_waits_for_them(team: Team, alice: User) -> None:
    grader = create_grader(team, alice, "G", EXACT)
    version = grader.versions.get()
    assert checked(version).state == State.WAITING_FOR_ROWS
    enqueue_checks_with_new_rows()
    assert GraderCheck.objects.get().state == State.WAITING_FOR_ROWS
    dataset(team, alice, "Capitals", capitals("reference"))
    enqueue_checks_with_new_rows()
    assert GraderCheck.objects.get().state == State.QUEUED
    assert checked(version).state == State.FINISHED


# --- known answers ---------------------------------------------------------------------------------


def test_a_version_that_pays_a_known_bad_answer_may_not_be_used_by_jobs(team: Team, alice: User) -> None:
    grader = create_grader(team, alice, "G", EXACT)
    first = grader.versions.get()
    assert list_unmet_conditions(first) == []
    keep_answer(grader, alice, ROW, "I hope this helps!", "bad")
    keep_answer(grader, alice, ROW, "Paris", "good", limit=1.0)
    assert "still being checked on 2 known answers" in list_unmet_conditions(first)[0]
    assert checked(first).results["tests"]
    assert list_unmet_conditions(first) == []
    second = add_version(grader, alice, LENIENT)[0]
    assert checked(second).failed_tests == 2
    reasons = list_unmet_conditions(second)
    assert "scores it 1.000, but a known bad answer must earn at most 0.3: “I hope this helps!”" in reasons[0]
    assert "scores it 0.000, but a known good answer must earn at least 1: “Paris”" in reasons[1]
    for test in list(grader.tests.all()):
        delete_test(test, alice)
    assert list_unmet_conditions(second) == []


def test_a_version_that_cannot_grade_a_known_answer_may_not_be_used(team: Team, alice: User) -> None:
    grader = create_grader(team, alice, "G", EXACT)
    keep_answer(grader, alice, ROW | {"item": {}}, "Paris", "bad")
    checked(grader.versions.get())
    assert "could not grade it" in list_unmet_conditions(grader.versions.get())[0]


def test_a_check_that_fails_later_leaves_nothing_of_an_earlier_one(team: Team, alice: User) -> None:
    grader = create_grader(team, alice, "G", EXACT)
    keep_answer(grader, alice, ROW, "Rome", "bad")
    version = grader.versions.get()
    checked(version)
    assert list_unmet_conditions(version) == []
    request_check(version)
    again = CHECKS.claim(version.check_run.pk)
    assert again is not None
    CHECKS.fail(again, WorkFailed("No sandbox.", "Install one."))
    version = grader.versions.get()
    assert version.check_run.results == {}
    assert "failed" in list_unmet_conditions(version)[0]


def test_an_answer_kept_while_a_check_runs_is_not_lost(team: Team, alice: User) -> None:
    grader = create_grader(team, alice, "G", EXACT)
    running = CHECKS.claim(grader.versions.get().check_run.pk)
    assert running is not None
    keep_answer(grader, alice, ROW, "Rome", "bad")
    CHECKS.finish(running, results={"cheats": [], "tests": {}})
    assert GraderCheck.objects.get().state == State.QUEUED
    checked(grader.versions.get())
    assert list_unmet_conditions(grader.versions.get()) == []


def test_a_result_is_kept_with_one_click_and_shows_on_the_bench(
    team: Team, alice: User, as_user: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    grader = create_grader(team, alice, "G", EXACT)
    trial = create_trial(team, alice, EXACT, [ROW], {"answers": ["typed"]}, grader=grader)
    result = {"row": 0, "source": "typed", "number": 1, "answer": "Lyon", "reward": 0.0, "seconds": 0.0}
    type(trial).objects.update(state="finished", results=[result], summary={"answers": 1, "mean": 0})
    form = {"trial": trial.uid, "index": 0, "kind": "bad"}
    answer = as_user(alice).post(f"{grader.get_absolute_url()}keep/", form, follow=True)
    kept = grader.tests.get()
    assert (kept.answer, kept.kind, kept.limit, kept.row) == ("Lyon", "bad", grader.cheat_threshold, ROW)
    assert "Lyon" in answer.content.decode()
    assert "not checked yet" in answer.content.decode()
    for wrong in ({"index": 1}, {"index": "-1"}, {"kind": "ugly"}, {"trial": "x"}):
        assert as_user(alice).post(f"{grader.get_absolute_url()}keep/", form | wrong).status_code == 404
    monkeypatch.setattr(services, "MAX_TESTS", 1)
    full = as_user(alice).post(f"{grader.get_absolute_url()}keep/", form, headers={"HX-Request": "true"})
    assert full["HX-Reswap"] == "none"
    assert "at most 1 known answers" in json.loads(full["HX-Trigger"])["toast"]["text"]


@pytest.mark.parametrize(
    ("item", "said"), [("{", "not JSON"), ("[]", "object in braces"), ('{"a": "\\u0000"}', "NUL")]
)
def test_a_known_answer_by_form_says_what_is_wrong_with_its_row(
    item: str, said: str, team: Team, alice: User, as_user: SignIn
) -> None:
    grader = create_grader(team, alice, "G", EXACT)
    form = {"kind": "good", "prompt": "Capital of France?", "answer": "Paris", "item": item, "limit": 1}
    client, address = as_user(alice), f"{grader.get_absolute_url()}known/"
    answer = client.post(address, form)
    assert answer.status_code == 422
    assert said in answer.content.decode()
    client.post(address, form | {"item": json.dumps(ROW["item"])})
    kept = grader.tests.get()
    assert kept.row["messages"] == ROW["messages"]
    assert GraderTest.objects.filter(limit=F("limit"), grader=grader).count() == 1


# --- the full marks ------------------------------------------------------------------------------

PATHS = {
    "type": "multi",
    "graders": {
        name: {
            "type": "string_check", "input": f"{{{{sample.output_json.{name}}}}}", "operation": "eq",
            "reference": f"{{{{item.{name}}}}}",
        }
        for name in ("city", "land")
    },
    "calculate_output": "0.5 * city + 0.5 * land",
}  # fmt: skip
SCHEMA = {
    "type": "json_schema",
    "json_schema": {"type": "object", "required": ["city"]},
    "reference": "{{item.truth}}",
    "fields": {"city": {}},
}
CODE = {
    "type": "python",
    "source": "import json\ndef grade(sample, item):\n    said = sample['output_json'] or {}\n"
    "    return (said.get('city') == item['city']) / 2 + (said.get('land') == item['land']) / 2",
}


def places() -> list[Json]:
    prompts = [[{"role": "user", "content": f"Question {n}?"}] for n in range(40)]
    return [
        {
            "messages": prompt, "city": f'City "{n}"', "land": f"Land {n}", "answer": f"City {n}",
            "truth": {"city": f"City {n}"},
        }
        for n, prompt in enumerate(prompts)
    ]  # fmt: skip


@pytest.mark.parametrize("definition", [PATHS, SCHEMA, CODE])
def test_the_full_answer_is_guessed_from_the_graders_own_references(
    team: Team, alice: User, definition: Json
) -> None:
    dataset(team, alice, "Places", places())
    check = checked(create_grader(team, alice, "G", definition).versions.get())
    assert check.results["reference"]["mean"] == 1.0
    assert not check.low_reference


def test_a_template_says_what_the_full_answer_is(team: Team, alice: User) -> None:
    rows = [row | {"answer": f"City {n}"} for n, row in enumerate(places())]
    dataset(team, alice, "Places", rows)
    source = (
        "def grade(sample, item):\n    return sample['output_text'] == item['answer'] + ', ' + item['land']"
    )
    grader = create_grader(team, alice, "G", {"type": "python", "source": source})
    check = checked(grader.versions.get())
    assert check.results["reference"]["mean"] == 0.0
    assert check.findings[0] == ("error", "References score low")
    assert check.results["reference"]["evidence"][0]["answer"].startswith("City ")
    set_checking(
        grader, alice, dataset=None, reference_field="", cheat_threshold=0.3,
        full_answer="{{item.answer}}, {{item.land}}",
    )  # fmt: skip
    check = checked(grader.versions.get())
    assert check.results["reference"]["mean"] == 1.0
    assert not check.low_reference


def test_a_reference_below_full_marks_is_said_first_on_the_page_and_in_the_job_form(
    team: Team, alice: User, as_user: SignIn
) -> None:
    dataset(team, alice, "Capitals", capitals("reference"))
    source = "def grade(sample, item):\n    return 0.6 * (item['reference'] == sample['output_text'])"
    half = {"type": "python", "source": source}
    grader = create_grader(team, alice, "G", half)
    version = grader.versions.get()
    check = checked(version)
    assert [kind for kind, _ in check.findings] == ["error"]
    page = as_user(alice).get(grader.get_absolute_url()).content.decode()
    alert = page.index("References score low: 0.6")
    assert alert < page.index("Polite boilerplate")
    first = find_grader_problems(version)[0]
    assert first.kind == "error"
    assert "earn 0.60 on average" in first.text


def test_the_full_answers_template_must_be_readable(team: Team, alice: User, as_user: SignIn) -> None:
    grader = create_grader(team, alice, "G", EXACT)
    url = reverse("graders:checking", args=[team.slug, grader.uid])
    for template in ("{{item.", "{{sample.output_text}}"):
        as_user(alice).post(url, {"cheat_threshold": "0.3", "full_answer": template})
        grader.refresh_from_db()
        assert grader.full_answer == ""
    as_user(alice).post(url, {"cheat_threshold": "0.3", "full_answer": "{{item.reference}}"})
    grader.refresh_from_db()
    assert grader.full_answer == "{{item.reference}}"
