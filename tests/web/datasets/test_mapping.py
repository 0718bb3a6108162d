"""Column mapping: the report shows the role of each column, and the uploader can change it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from tests.web.stored import rows_of
from webapp.datasets.models import DatasetVersion, Upload
from webapp.datasets.uploads.services import receive_file
from webapp.datasets.uploads.validation import Options
from webapp.teams.models import Team, User

SignIn = Callable[[User], Client]
ROWS = [{"frage": f"Was ist {n}?", "antwort": str(n), "notiz": "geheim"} for n in range(20)]


def as_csv(rows: list[dict[str, Any]]) -> bytes:
    lines = [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
    return "\n".join(lines).encode()


def as_parquet(rows: list[dict[str, Any]]) -> bytes:
    written = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), written)
    return written.getvalue()


FILES = {"a.csv": as_csv(ROWS), "a.parquet": as_parquet(ROWS)}


def upload_table(team: Team, user: User, name: str, content: bytes) -> Upload:
    return receive_file(team, user, "Fragen", SimpleUploadedFile(name, content), Options())


def roles(upload: Upload) -> dict[str, str]:
    return {column["name"]: column["role"] for column in upload.report["table"]}


def check(client: Client, upload: Upload, *chosen: str) -> Any:
    answer = client.post(upload.get_absolute_url(), {"role": chosen, "validation": 10, "test": 10})
    upload.refresh_from_db()
    return answer


@pytest.mark.parametrize("name", FILES)
def test_a_table_is_mapped_column_by_column(name: str, team: Team, alice: User, as_user: SignIn) -> None:
    client, upload = as_user(alice), upload_table(team, alice, name, FILES[name])
    page = client.get(upload.get_absolute_url()).text
    assert "Which column holds the prompt?" in page
    assert "Was ist 0?" in page, "first values are shown beside each column"
    check(client, upload, "prompt", "field", "out")
    assert roles(upload) == {"frage": "prompt", "antwort": "field", "notiz": "out"}
    client.post(upload.get_absolute_url(), {"commit": "1"})
    row = rows_of(DatasetVersion.objects.get().files["train"]["key"])[0]
    assert row["messages"][0]["content"].startswith("Was ist")
    assert row["item"].keys() == {"antwort"}


def test_the_report_shows_the_guessed_roles(team: Team, alice: User, as_user: SignIn) -> None:
    rows = [{"Question": row["frage"], "reference": row["antwort"]} for row in ROWS]
    upload = upload_table(team, alice, "a.csv", as_csv(rows))
    assert roles(upload) == {"Question": "prompt", "reference": "field"}
    page = as_user(alice).get(upload.get_absolute_url())
    assert "All rows can be used" in page.text
    assert 'aria-label="Role of Question"' in page.text


def test_messages_may_be_in_any_column(team: Team, alice: User, as_user: SignIn) -> None:
    talk = json.dumps([{"role": "user", "content": "Hi"}]).replace('"', '""')
    content = "\n".join(["talk,prompt", *(f'"{talk}",p{n}' for n in range(20))]).encode()
    upload = upload_table(team, alice, "a.csv", content)
    assert roles(upload) == {"talk": "field", "prompt": "prompt"}
    check(as_user(alice), upload, "messages", "field")
    assert upload.report["rows"] == 20
    assert roles(upload) == {"talk": "messages", "prompt": "field"}


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (("prompt", "prompt", "out"), "frage, antwort are all marked as prompt"),
        (("field", "field", "field"), "no column is marked as prompt"),
        (("prompt", "field"), "Load the page again"),
        (("prompt", "field", "<b>"), "Load the page again"),
    ],
)
def test_a_mapping_without_exactly_one_prompt_is_refused(
    chosen: tuple[str, ...], message: str, team: Team, alice: User, as_user: SignIn
) -> None:
    upload = upload_table(team, alice, "a.csv", FILES["a.csv"])
    answer = check(as_user(alice), upload, *chosen)
    assert answer.status_code == 422
    assert message in answer.text
    assert not upload.report["rows"], "nothing was checked again"


def test_json_lines_have_no_columns_to_map(team: Team, alice: User, as_user: SignIn) -> None:
    lines = b"\n".join(b'{"messages":[{"role":"user","content":"p%d"}]}' % n for n in range(20))
    upload = upload_table(team, alice, "a.jsonl", lines)
    assert upload.report["table"] == []
    assert "Check again with other columns or splits" in as_user(alice).get(upload.get_absolute_url()).text


@pytest.mark.parametrize("rows", [[{"question": "a\0b"}], [{"question": "a", "b\0": "c"}]])
def test_a_table_with_nul_in_its_names_is_refused_without_an_error_page(
    rows: list[dict[str, Any]], team: Team, alice: User, as_user: SignIn
) -> None:
    file = SimpleUploadedFile("a.parquet", as_parquet(rows))
    address = f"/t/{team.slug}/datasets/new/"
    page = as_user(alice).post(address, {"file": file, "validation": 10, "test": 10}, follow=True)
    assert page.status_code == 200
    assert "NUL" in page.text
    assert Upload.objects.get().report["rows"] == 0
