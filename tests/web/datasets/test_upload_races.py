"""Uploads whose state changes meanwhile, and names that no table can hold."""

from __future__ import annotations

import base64
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from django.core.files.base import File
from django.core.files.storage import default_storage
from django.test import Client
from django.urls import reverse

from tests.web.datasets.test_datasets import jsonl, upload_file
from webapp.datasets.models import DatasetImport, Upload
from webapp.datasets.services import delete_dataset, restore_dataset
from webapp.datasets.uploads import imports
from webapp.datasets.uploads.services import (
    CannotCommit,
    Choices,
    commit_upload,
    discard_upload,
    find_errors,
    receive_file,
    recheck_upload,
)
from webapp.datasets.uploads.validation import Options
from webapp.teams.models import AuditEvent, Team, User
from webapp.work.errors import LeaseLost

SignIn = Callable[[User], Client]


def test_a_check_that_ends_after_the_commit_leaves_the_upload_committed(team: Team, alice: User) -> None:
    upload = upload_file(team, alice, jsonl(30))
    seen_earlier = Upload.objects.get(pk=upload.pk)
    commit_upload(upload, alice, Choices())
    with pytest.raises(CannotCommit, match="already committed"):
        recheck_upload(seen_earlier, Options(validation=20))
    upload.refresh_from_db()
    assert (upload.state, upload.options["validation"]) == (Upload.State.COMMITTED, 10)
    assert "preview" not in upload.report, "test rows are sealed from the commit on"


def test_an_upload_whose_bytes_are_gone_is_refused_in_words(team: Team, alice: User) -> None:
    upload = upload_file(team, alice, jsonl(30))
    default_storage.delete(upload.file)
    for decide in (
        lambda: recheck_upload(upload, Options(validation=20)),
        lambda: commit_upload(upload, alice, Choices()),
    ):
        with pytest.raises(CannotCommit, match="Upload the file again"):
            decide()
    assert not team.datasets.exists()


def test_a_file_for_a_deleted_dataset_waits_until_it_is_restored(team: Team, alice: User) -> None:
    version, _ = commit_upload(upload_file(team, alice, jsonl(30)), alice, Choices())
    dataset = version.dataset
    more = receive_file(team, alice, "", _named("more.jsonl", jsonl(40)), Options(), dataset)
    delete_dataset(dataset, alice)
    with pytest.raises(CannotCommit, match="Data was deleted"):
        commit_upload(more, alice, Choices())
    assert dataset.versions.count() == 1
    restore_dataset(dataset, alice)
    second, new = commit_upload(Upload.objects.get(pk=more.pk), alice, Choices())
    assert (second.number, second.rows, new) == (2, 40, True)


def test_a_deletion_by_two_people_is_recorded_once(team: Team, alice: User, erin: User) -> None:
    version, _ = commit_upload(upload_file(team, alice, jsonl(30)), alice, Choices())
    first, second = (type(version.dataset).objects.get(pk=version.dataset_id) for _ in range(2))
    delete_dataset(first, alice)
    delete_dataset(second, erin)
    deletions = AuditEvent.objects.filter(verb="deleted dataset")
    assert [event.user for event in deletions] == [alice]
    restore_dataset(second, erin)
    restore_dataset(first, alice)
    assert [event.user for event in AuditEvent.objects.filter(verb="restored dataset")] == [erin]


def test_discarding_a_committed_upload_keeps_its_version(team: Team, alice: User) -> None:
    upload = upload_file(team, alice, jsonl(30))
    version, _ = commit_upload(upload, alice, Choices())
    discard_upload(Upload.objects.get(pk=upload.pk), alice)
    assert default_storage.exists(version.files["train"]["key"])
    assert not AuditEvent.objects.filter(verb="discarded upload").exists(), "nothing was thrown away"


def test_errors_of_a_refused_file_are_those_of_its_report(team: Team, alice: User) -> None:
    upload = upload_file(team, alice, b"\xff\xfe\x00", name="data.csv")
    assert upload.state == Upload.State.REFUSED
    assert [error.reason for error in find_errors(upload)] == ["The file is encoded as UTF-16."]


# --- names -----------------------------------------------------------------------------------------


def _named(name: str, data: bytes) -> Any:
    return File(BytesIO(data), name=name)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://files.example/a/rows.jsonl", "rows.jsonl"),
        ("https://files.example/rows.jsonl/?token=x#part", "rows.jsonl"),
        ("https://files.example/R%C3%A9sum%C3%A9s%20%231.csv", "Résumés #1.csv"),
        ("https://files.example/a%2Fb.jsonl", "a_b.jsonl"),
        ("https://files.example/a%00b.jsonl", "a\N{SYMBOL FOR NULL}b.jsonl"),
        ("https://files.example/%ff.jsonl", "\N{REPLACEMENT CHARACTER}.jsonl"),
        ("https://files.example", "import"),
        ("https://files.example/" + "x" * 300, "x" * 255),
    ],
)
def test_an_import_is_named_after_the_last_part_of_its_url(url: str, name: str) -> None:
    assert imports.read_filename(url) == name


def _running_import(team: Team, alice: User) -> DatasetImport:
    found = imports.request_import(
        team, alice, source="https://files.example/a%00b.jsonl", name="", options=Options(), dataset=None
    )
    claimed = imports.IMPORTS.claim(found.pk)
    assert claimed
    return claimed


def test_an_import_with_a_nul_in_its_name_becomes_an_upload(team: Team, alice: User) -> None:
    found = _running_import(team, alice)
    imports.finish_import(found, BytesIO(jsonl(30)), found.source, 100)
    found.refresh_from_db()
    assert found.upload
    assert found.upload.filename == "a␀b.jsonl"
    assert found.upload.report["rows"] == 30


def test_an_import_that_was_cancelled_meanwhile_leaves_no_upload(team: Team, alice: User) -> None:
    found = _running_import(team, alice)
    imports.cancel_import(found, alice)
    with pytest.raises(LeaseLost):
        imports.finish_import(found, BytesIO(jsonl(30)), found.source, 100)
    assert not Upload.objects.exists()
    imports.cancel_import(found, alice)
    assert AuditEvent.objects.filter(verb="cancelled import").count() == 1


@pytest.mark.parametrize("field", ["dataset", "filename", "name", "prompt_column"])
def test_a_nul_in_the_metadata_of_a_transfer_is_refused(
    team: Team, alice: User, as_user: SignIn, field: str
) -> None:
    values = {"filename": "rows.jsonl", "validation": "10", "test": "10", field: "a\0b"}
    metadata = ",".join(f"{name} {base64.b64encode(text.encode()).decode()}" for name, text in values.items())
    answer = as_user(alice).post(
        reverse("datasets:transfers", args=[team.slug]),
        headers={"Upload-Length": "10", "Upload-Metadata": metadata, "Tus-Resumable": "1.0.0"},
    )
    assert answer.status_code in (400, 422)
    assert not team.transfers.exists()
