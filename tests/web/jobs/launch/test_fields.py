"""A job starts with the rows its grader was tried on, and not on rows that lack the grader's fields."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from django.core.files import File
from django.test import Client

from tests.web.jobs.monitor.test_pages import form_data
from webapp.datasets.models import DatasetVersion
from webapp.datasets.uploads.services import Choices, commit_upload, receive_file
from webapp.datasets.uploads.validation import Options
from webapp.graders.definitions import required_fields
from webapp.graders.models import GraderVersion
from webapp.graders.services import create_grader, create_trial
from webapp.jobs.errors import SettingsInvalid
from webapp.jobs.launch.request import JobRequest, SuiteChoice, TaskChoice, single_task
from webapp.jobs.launch.service import launch as launch_job
from webapp.jobs.models import Job
from webapp.registry.services import ensure_starter_model
from webapp.teams.models import Team, User

SignIn = Callable[[User], Client]
MISSING = "{{item.answer}}"


def dataset(team: Team, user: User, name: str, **fields: Any) -> DatasetVersion:
    """Sixty rows with these fields; a callable field is left out where it gives None."""

    def row(number: int) -> dict[str, Any]:
        values = {key: value(number) if callable(value) else value for key, value in fields.items()}
        kept = {key: value for key, value in values.items() if value is not None}
        return {"messages": [{"role": "user", "content": f"{name} {number}?"}], **kept}

    text = "\n".join(json.dumps(row(number)) for number in range(60))
    file = File(io.BytesIO(text.encode()), name=f"{name}.jsonl")
    version, _ = commit_upload(receive_file(team, user, name, file, Options()), user, Choices())
    return version


def check(reference: str) -> dict[str, Any]:
    return {
        "type": "string_check", "name": "same", "operation": "eq", "input": "{{sample.output_text}}",
        "reference": reference,
    }  # fmt: skip


def python(body: str) -> dict[str, Any]:
    return {"type": "python", "name": "own", "source": f"def grade(sample, row):\n    {body}\n"}


def grader(team: Team, user: User, definition: dict[str, Any], name: str = "Same") -> GraderVersion:
    return create_grader(team, user, name, definition).versions.get()


def launch(team: Team, user: User, rows: DatasetVersion, by: GraderVersion, **others: Any) -> Job:
    return launch_job(
        JobRequest(
            team=team,
            user=user,
            name="J",
            base_model=ensure_starter_model(),
            tasks=single_task(rows, by),
            settings={},
            **others,
        )
    )


def test_a_launch_without_the_graders_field_is_refused_with_field_grader_dataset_and_remedy(
    team: Team, alice: User, as_user: SignIn
) -> None:
    ensure_starter_model()
    rows, by = dataset(team, alice, "Tickets", queue="a", priority=1), grader(team, alice, check(MISSING))
    client, url = as_user(alice), f"/t/{team.slug}/jobs/new/"
    query = f"?dataset={rows.uid}&grader={by.uid}"
    page = client.get(url + query).text
    assert "reads item.answer, which none of the 60 rows of Tickets v1 has." in page
    answer = client.post(url, form_data(client, url + query))
    assert answer.status_code == 422
    error = answer.context["form"].errors["grader_version"][0]
    assert error == (
        "The grader Same v1 reads item.answer, which none of the 60 rows of Tickets v1 has. "
        "Its fields: queue, priority. "
        "Choose another dataset or grader, or save a grader version that reads one of these fields."
    )
    assert not Job.objects.exists()


def test_held_out_graders_tasks_and_suites_are_checked_alike(team: Team, alice: User) -> None:
    rows, by = dataset(team, alice, "Tickets", answer="a"), grader(team, alice, check(MISSING))
    other = grader(team, alice, check("{{item.total}}"), "Other")
    with pytest.raises(SettingsInvalid) as refused:
        launch(team, alice, rows, by, held_out_grader=other)
    assert "item.total" in refused.value.errors["held_out_grader"]
    choices = [TaskChoice("one", rows, by), TaskChoice("two", rows, other)]
    with pytest.raises(SettingsInvalid) as refused:
        launch_job(
            JobRequest(
                team=team, user=alice, name="J", base_model=ensure_starter_model(), tasks=choices, settings={}
            )
        )
    assert "item.total" in refused.value.errors["task_2.grader_version"]
    with pytest.raises(SettingsInvalid) as refused:
        launch_job(
            JobRequest(
                team=team,
                user=alice,
                name="J",
                base_model=ensure_starter_model(),
                tasks=choices[:1],
                settings={},
                suites=[SuiteChoice("old", "", rows, other)],
            )
        )
    assert "item.total" in refused.value.errors["suite old"]


@pytest.mark.parametrize(
    ("definition", "wrong"),
    [
        (check("{{ item.answer }}"), ""),
        (check('{{item["answer"]}}'), ""),
        (check("{{item.nested.total}}"), ""),
        (check("{{item.answer.total}}"), "item.answer.total, which none"),
        (check("{{item.nested[0]}}"), "item.nested[0], which none"),
        (check("{{item.half}}"), "item.half, which only 30 of the 60 rows"),
        (python('return float(row["answer"] == "a")'), ""),
        (python('return float(row["gone"] == "a")'), "item.gone, which none"),
        (python('return float(row.get("gone") == "a")'), ""),
        (python('return float("gone" in row and row["gone"] == "a")'), ""),
        (python('return float(row["half"]) if row["answer"] == "b" else 0.0'), ""),
        (python('return float(row["half"])'), "item.half, which only 30 of the 60 rows"),
        (
            {"type": "multi", "name": "both", "calculate_output": "a", "graders": {"a": check(MISSING * 2)}},
            "",
        ),
    ],
)
def test_fields_are_compared_with_what_the_rows_have(
    team: Team, alice: User, definition: dict[str, Any], wrong: str
) -> None:
    rows = dataset(
        team, alice, "Tickets", answer="a", nested={"total": 1}, half=lambda number: 1 if number % 2 else None
    )
    refusal = required_fields.find_refusal(grader(team, alice, definition), rows)
    assert wrong in refusal
    assert bool(refusal) == bool(wrong)


def test_a_few_rows_without_the_field_are_a_warning(team: Team, alice: User, as_user: SignIn) -> None:
    rows = dataset(team, alice, "Tickets", answer=lambda number: "a" if number else None)
    by = grader(team, alice, check(MISSING))
    assert launch(team, alice, rows, by)
    page = as_user(alice).get(f"/t/{team.slug}/jobs/new/?dataset={rows.uid}&grader={by.uid}").text
    assert "which only 59 of the 60 rows of Tickets v1 have" in page


def chosen(client: Client, team: Team, query: str) -> tuple[str, str]:
    values = client.get(f"/t/{team.slug}/jobs/new/?{query}").context["form"].values
    return values["dataset_version"].uid, values["grader_version"].uid


def test_use_in_a_job_brings_the_rows_that_were_tried(team: Team, alice: User, as_user: SignIn) -> None:
    old = dataset(team, alice, "Old", answer="a")
    fitting = dataset(team, alice, "Fitting", answer="a")
    newest = dataset(team, alice, "Newest", other="a")
    by, stranger = grader(team, alice, check(MISSING)), grader(team, alice, check("{{item.other}}"), "Other")
    client = as_user(alice)
    assert chosen(client, team, f"grader={by.uid}") == (fitting.uid, by.uid)
    assert chosen(client, team, f"dataset={old.uid}") == (old.uid, by.uid)
    assert chosen(client, team, "") == (newest.uid, stranger.uid)
    create_trial(
        team, alice, by.definition, [{"messages": []}], {"answers": ["typed"]}, grader=by.grader,
        dataset_version=old,
    )  # fmt: skip
    assert chosen(client, team, f"grader={by.uid}") == (old.uid, by.uid)


def test_datasets_of_one_name_are_told_apart_in_every_list_of_choices(
    team: Team, alice: User, as_user: SignIn
) -> None:
    versions = [dataset(team, alice, "Same name", answer="a") for _ in range(2)]
    DatasetVersion.objects.update(created_at=versions[0].created_at)
    by = grader(team, alice, check(MISSING))
    client = as_user(alice)
    form = client.get(f"/t/{team.slug}/jobs/new/").context["form"]
    for field in (form.fields["dataset_version"], form.suite_rows[0].fields["dataset_version"]):
        labels = [label for value, label in field.choices if value]
        assert len(set(labels)) == 2, field.label
        assert all("Same name v1 (60 rows, " in label for label in labels)
    trial = client.get(by.grader.get_absolute_url()).context["trial_form"]
    assert len({label for _, label in trial.fields["version"].choices}) == 3
