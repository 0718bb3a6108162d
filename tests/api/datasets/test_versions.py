"""Files become dataset versions, and versions made on pages are files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from tests.api.conftest import Call
from tests.api.forms import send_file, write_rows
from tests.web.stored import rows_of
from webapp.core.api.errors import ApiError
from webapp.datasets.files.models import ApiFile
from webapp.datasets.files.services import build_version, find_file
from webapp.datasets.models import DatasetVersion, Upload
from webapp.datasets.services import delete_dataset
from webapp.datasets.uploads.services import Choices, commit_upload, receive_file
from webapp.datasets.uploads.validation import Options
from webapp.teams.models import Team, User

TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
TALK = [
    {"role": "developer", "content": "Be short."},
    {"role": "user", "content": "Call f."},
    {"role": "assistant", "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c", "content": "1"},
    {"role": "user", "content": "And now?"},
]


@pytest.fixture
def make_file(call: Call, team: Team) -> Any:
    def make(content: bytes, name: str = "train.jsonl", purpose: str = "fine-tune") -> ApiFile:
        return find_file(team, send_file(call, content, purpose, name).json()["id"])

    return make


def make_page_version(team: Team, user: User, data: bytes) -> DatasetVersion:
    upload = receive_file(team, user, "Invoices", SimpleUploadedFile("a.jsonl", data), Options())
    return commit_upload(upload, user, Choices())[0]


def labels(version: DatasetVersion, split: str) -> list[Any]:
    return [row["item"]["label"] for row in rows_of(version.files[split]["key"])]


def test_two_files_are_the_splits_of_a_version(team: Team, alice: User, make_file: Any) -> None:
    training, validation = make_file(write_rows(5)), make_file(write_rows(3, start=5), "check.jsonl")
    version = build_version(team, alice, training, validation, "train.jsonl")
    assert labels(version, "train") == [0, 1, 2, 3, 4]
    assert labels(version, "validation") == [5, 6, 7]
    assert labels(version, "test") == []
    assert (str(version), version.filename) == ("train.jsonl v1", "train.jsonl")
    assert (version.training_file, version.validation_file) == (training, validation)


def test_the_same_contents_give_the_same_version(team: Team, alice: User, make_file: Any) -> None:
    training, validation = make_file(write_rows(9)), make_file(write_rows(3))
    version = build_version(team, alice, training, validation, "a")
    assert build_version(team, None, training, validation, "b") == version
    assert build_version(team, alice, make_file(write_rows(9)), validation, "b") == version
    assert build_version(team, alice, training, None, "b") != version
    assert DatasetVersion.objects.count() == 2
    delete_dataset(version.dataset, alice)
    assert build_version(team, alice, training, validation, "b") != version


def test_a_file_can_be_training_and_validation(team: Team, alice: User, make_file: Any) -> None:
    training = make_file(write_rows(4))
    version = build_version(team, alice, training, training, "a")
    assert labels(version, "train") == labels(version, "validation") == [0, 1, 2, 3]
    assert version.report["overlap"]["prompts"] == 4


def test_without_a_validation_file_a_tenth_is_sealed(team: Team, alice: User, make_file: Any) -> None:
    version = build_version(team, alice, make_file(write_rows(200)), None, "a")
    assert {split: file["rows"] for split, file in version.files.items()} == {
        "train": 180, "validation": 0, "test": 20,
    }  # fmt: skip
    with pytest.raises(ApiError, match="at least 5 different prompts"):
        build_version(team, alice, make_file(write_rows(4)), None, "a")


def test_every_field_is_an_item_and_tools_are_kept(team: Team, alice: User, make_file: Any) -> None:
    """Also one named split, and whatever the name of the file ends with."""
    row = {"messages": TALK, "tools": TOOLS, "split": "easy", "label": {"a": [1.5, None]}}
    training = make_file(json.dumps(row).encode(), "rows.csv")
    version = build_version(team, alice, training, make_file(write_rows(1)), "a")
    stored = rows_of(version.files["train"]["key"])[0]
    assert stored["item"] == {"split": "easy", "label": {"a": [1.5, None]}}
    assert (stored["tools"], len(stored["messages"])) == (TOOLS, 5)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (b'{"label":1}', "has no messages"),
        (b'{"prompt":"Hi"}', "has no messages"),
        (b'{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}', "'assistant'"),
        (b'{"messages":[{"role":"judge","content":"a"}]}', "'judge'"),
        (b'{"messages":[{"role":"user","content":"a"}],"tools":7}', "tools"),
        (b'{"messages":[{"role":"user","content":"a\\u0000"}]}', "NUL"),
    ],
)
@pytest.mark.parametrize("param", ["training_file", "validation_file"])
def test_a_wrong_row_is_named_by_file_and_line(
    team: Team, alice: User, make_file: Any, row: bytes, message: str, param: str
) -> None:
    good, bad = make_file(write_rows(6)), make_file(write_rows(2) + b"\n" + row)
    files = (bad, good) if param == "training_file" else (good, bad)
    with pytest.raises(ApiError, match=r"^Line 4: ") as refused:
        build_version(team, alice, *files, "a")
    assert message in str(refused.value)
    assert (refused.value.param, refused.value.code) == (param, "invalid_training_file")
    assert not DatasetVersion.objects.exists()
    assert not Upload.objects.exists()
    assert not any(Path(default_storage.path(f"teams/{team.pk}/uploads")).iterdir())


def test_files_for_other_purposes_do_not_train(team: Team, alice: User, make_file: Any) -> None:
    with pytest.raises(ApiError, match="'evals'") as refused:
        build_version(team, alice, make_file(write_rows(5)), make_file(write_rows(5), purpose="evals"), "a")
    assert refused.value.param == "validation_file"


def test_a_version_keeps_its_rows_when_its_file_is_deleted(
    team: Team, alice: User, make_file: Any, call: Call
) -> None:
    training = make_file(write_rows(50))
    version = build_version(team, alice, training, None, "a")
    call("DELETE", f"/files/{training.uid}")
    assert len(labels(version, "train")) == version.files["train"]["rows"] > 0


def test_a_page_s_version_is_listed_by_its_open_splits(
    team: Team, alice: User, call: Call, as_user: Callable[[User], Client]
) -> None:
    version = make_page_version(team, alice, write_rows(50))
    listed = call("GET", "/files?order=asc").json()["data"]
    assert [each["filename"] for each in listed] == [
        "invoices-v1-train.jsonl",
        "invoices-v1-validation.jsonl",
    ]
    assert listed[0]["id"] == version.uid
    for each, split in zip(listed, ("train", "validation"), strict=True):
        content = b"".join(call("GET", f"/files/{each['id']}/content"))
        assert len(content) == each["bytes"]
        assert [json.loads(line)["label"] for line in content.splitlines()] == labels(version, split)
        page = as_user(alice).get(version.get_absolute_url(), {"split": split})
        assert each["id"] in page.text
    training, validation = (find_file(team, each["id"]) for each in listed)
    assert build_version(team, alice, training, validation, "a") == version
    assert build_version(team, alice, training, None, "a") == version


def test_the_content_of_a_split_makes_the_same_rows(
    team: Team, alice: User, call: Call, make_file: Any
) -> None:
    row = {"messages": TALK, "tools": TOOLS, "label": "ä"}
    version = make_page_version(team, alice, json.dumps(row | {"split": "train"}).encode())
    content = b"".join(call("GET", f"/files/{version.uid}/content"))
    assert json.loads(content)["messages"][2]["tool_calls"] == [CALL]  # arguments are text, as OpenAI's
    copy = build_version(team, alice, make_file(content), make_file(write_rows(1)), "a")
    assert copy.files["train"]["sha256"] == version.files["train"]["sha256"]


def test_parts_of_two_versions_make_a_new_one(team: Team, alice: User) -> None:
    first, second = (make_page_version(team, alice, write_rows(50, start)) for start in (0, 50))
    assert first.training_file
    version = build_version(team, alice, first.training_file, second.validation_file, "a")
    assert labels(version, "train") == labels(first, "train")
    assert labels(version, "validation") == labels(second, "validation")


def test_files_of_a_deleted_dataset_are_gone(team: Team, alice: User, call: Call) -> None:
    version = make_page_version(team, alice, write_rows(50))
    delete_dataset(version.dataset, alice)
    assert call("GET", "/files").json()["data"] == []
    assert call("GET", f"/files/{version.uid}/content").status_code == 404
