"""Uploads: check, report, commit once, discard. A failure leaves no files."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone

from tests.web.stored import rows_of
from webapp.datasets.content import limits
from webapp.datasets.models import Dataset, DatasetVersion, Upload
from webapp.datasets.uploads.services import (
    CannotCommit,
    Choices,
    commit_upload,
    discard_stale_uploads,
    receive_file,
    recheck_upload,
)
from webapp.datasets.uploads.validation import Options
from webapp.teams.models import AuditEvent, Team, User

SignIn = Callable[[User], Client]


def jsonl(count: int, start: int = 0) -> bytes:
    rows = [
        {"messages": [{"role": "user", "content": f"Prompt {number}"}], "label": number}
        for number in range(start, start + count)
    ]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def upload_file(team: Team, user: User, data: bytes, name: str = "data.jsonl", **options: Any) -> Upload:
    return receive_file(team, user, "Data", SimpleUploadedFile(name, data), Options(**options))


def stored_files(team: Team) -> set[str]:
    root = Path(default_storage.path(f"teams/{team.pk}"))
    return (
        {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
        if root.exists()
        else set()
    )


@pytest.fixture
def committed(team: Team, alice: User) -> DatasetVersion:
    version, _ = commit_upload(upload_file(team, alice, jsonl(60)), alice, Choices())
    return version


def test_a_version_holds_every_row_once_under_its_hash(
    team: Team, alice: User, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        version, new = commit_upload(upload_file(team, alice, jsonl(200)), alice, Choices())
    assert new
    assert version.rows == 200
    labels = []
    for split, file in version.files.items():
        data = default_storage.open(file["key"]).read()
        assert hashlib.sha256(data).hexdigest() == file["sha256"]
        assert (len(data), data.count(b"\n")) == (file["bytes"], file["rows"])
        assert file["rows"] > 0, split
        labels += [row["item"]["label"] for row in rows_of(file["key"])]
    assert sorted(labels) == list(range(200))
    assert not any("uploads" in name for name in stored_files(team))


def test_the_same_rows_again_are_the_same_version(team: Team, alice: User, committed: DatasetVersion) -> None:
    again = receive_file(
        team, alice, "Data", SimpleUploadedFile("b.jsonl", jsonl(60)), Options(), committed.dataset
    )
    version, new = commit_upload(again, alice, Choices())
    assert (version, new) == (committed, False)
    more = receive_file(
        team, alice, "Data", SimpleUploadedFile("b.jsonl", jsonl(61)), Options(), committed.dataset
    )
    version, new = commit_upload(more, alice, Choices())
    assert (version.number, new) == (2, True)


def test_csv_and_parquet_give_the_rows_of_the_json_lines(team: Team, alice: User) -> None:
    prompts, labels = [f"Prompt {n}" for n in range(30)], [f"label {n}" for n in range(30)]
    buffer = io.BytesIO()
    pq.write_table(pa.table({"question": prompts, "label": labels}), buffer)
    text = "question,label\n" + "".join(f"{p},{a}\n" for p, a in zip(prompts, labels, strict=True))
    one, _ = commit_upload(upload_file(team, alice, text.encode(), "a.csv"), alice, Choices())
    other, _ = commit_upload(upload_file(team, alice, buffer.getvalue(), "a.parquet"), alice, Choices())
    assert one.sha256 == other.sha256


def test_parquet_with_messages_times_and_nulls(team: Team, alice: User) -> None:
    buffer = io.BytesIO()
    messages = [[{"role": "user", "content": "hi", "name": None}]]
    stamp = pa.array([timezone.now()], pa.timestamp("us", tz="UTC"))
    pq.write_table(
        pa.table({"messages": messages, "at": stamp, "none": pa.array([None], pa.string())}), buffer
    )
    report = upload_file(team, alice, buffer.getvalue(), "a.parquet").report
    (row,) = report["preview"]
    assert row["messages"] == [{"role": "user", "content": "hi"}]
    assert row["item"]["none"] is None
    assert row["item"]["at"].endswith("+00:00")


def bomb() -> bytes:
    """A small Parquet file that would unpack to 400 MB."""
    buffer = io.BytesIO()
    writer = pq.ParquetWriter(
        buffer, pa.schema([("prompt", pa.string())]), compression="zstd", use_dictionary=False
    )
    batch = pa.table({"prompt": ["x" * 2**20] * 50})
    for _ in range(8):
        writer.write_table(batch)
    writer.close()
    return buffer.getvalue()


def good_parquet() -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"prompt": [f"p{n}" for n in range(1000)]}), buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("empty.jsonl", b"", "empty"),
        ("blank.jsonl", b"\n \n", "no rows"),
        ("header.csv", b"prompt,answer\n", "no rows"),
        ("packed.jsonl.gz", b"\x1f\x8b\x08\0\0\0", "gzip"),
        ("garbage.jsonl", bytes(range(256)) * 8, "binary"),
        ("wide.csv", "prompt,a\ncaf\u00e9,1\n".encode("utf-16"), "UTF-16"),
        ("cut.parquet", good_parquet()[:-100], "cannot be read"),
        ("torn.parquet", b"PAR1" + b"\xff" * 3000 + good_parquet()[-2000:], "cannot be read"),
        ("bomb.parquet", bomb(), "unpacks to more"),
        ("open.csv", b'prompt,a\n"x,1\ny,2\n', "cannot be read past"),
    ],
)
def test_a_file_that_cannot_be_used_leaves_its_report_and_no_bytes(
    team: Team, alice: User, name: str, data: bytes, reason: str
) -> None:
    found = upload_file(team, alice, data, name)
    error = found.report["errors"][0]
    assert reason in error["reason"]
    assert error["remedy"]
    assert found.state == Upload.State.REFUSED
    assert stored_files(team) == set()
    with pytest.raises(CannotCommit):
        commit_upload(found, alice, Choices(skip_bad=True))


def test_too_large_a_file_is_refused(team: Team, alice: User, settings: Any) -> None:
    settings.MAX_UPLOAD_BYTES = 100
    assert "at most 100" in upload_file(team, alice, jsonl(10)).report["errors"][0]["reason"]


def test_bad_rows_are_skipped_only_if_asked(team: Team, alice: User) -> None:
    upload = upload_file(team, alice, jsonl(20) + b'{"messages": 1}\n' * 150 + jsonl(1, start=50)[:-20])
    assert upload.report["bad"] == 151
    assert len(upload.report["errors"]) == limits.ERRORS_SHOWN
    assert upload.report["errors"][0]["line"] == 21
    with pytest.raises(CannotCommit, match="151 rows"):
        commit_upload(upload, alice, Choices())
    version, _ = commit_upload(upload, alice, Choices(skip_bad=True))
    assert version.rows == 20


def test_a_csv_without_a_known_prompt_column_can_be_checked_again(team: Team, alice: User) -> None:
    rows = b"".join(b"f%d,a\n" % n for n in range(20))
    upload = upload_file(team, alice, b"frage,antwort\n" + rows, "a.csv")
    assert upload.report["recheckable"]
    recheck_upload(upload, Options(prompt_column="frage"))
    version, _ = commit_upload(upload, alice, Choices())
    assert version.rows == 20


def test_overlapping_rows_leave_train_if_asked(team: Team, alice: User) -> None:
    rows = [("train", "a"), ("train", "b"), ("validation", "c"), ("test", "A"), ("test", "d")]
    data = "".join(
        json.dumps({"messages": [{"role": "user", "content": prompt}], "split": split}) + "\n"
        for split, prompt in rows
    ).encode()
    kept, _ = commit_upload(upload_file(team, alice, data), alice, Choices())
    dropped, _ = commit_upload(upload_file(team, alice, data), alice, Choices(drop_overlap=True))
    assert kept.report["splits"] == {"train": 2, "validation": 1, "test": 2}
    assert dropped.report["splits"] == {"train": 1, "validation": 1, "test": 2}
    assert dropped.report["dropped"] == 1


def test_a_version_needs_rows_to_train_on(team: Team, alice: User) -> None:
    data = json.dumps({"messages": [{"role": "user", "content": "a"}], "split": "test"}).encode()
    with pytest.raises(CannotCommit, match="left for training"):
        commit_upload(upload_file(team, alice, data), alice, Choices())


def test_a_version_says_how_many_values_its_report_leaves_out(team: Team, alice: User) -> None:
    """Checks of graders must not take an unlisted field for a missing one."""
    rows = [{f"f{n}": n for n in range(start, start + 200)} for start in (0, 100)]
    data = "".join(
        json.dumps({"messages": [{"role": "user", "content": f"Prompt {n}"}], **fields}) + "\n"
        for n, fields in enumerate(rows * 3)
    ).encode()
    version, _ = commit_upload(upload_file(team, alice, data), alice, Choices())
    assert len(version.report["fields"]) == limits.MAX_FIELDS
    assert version.report["left_out"] > 0


def test_a_commit_that_fails_leaves_nothing(team: Team, alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = upload_file(team, alice, jsonl(20))
    before = stored_files(team)

    def out_of_order(**values: Any) -> None:
        raise RuntimeError("the database went away")

    monkeypatch.setattr(DatasetVersion.objects, "create", out_of_order)
    with pytest.raises(RuntimeError):
        commit_upload(upload, alice, Choices())
    assert stored_files(team) == before
    assert not Dataset.objects.exists()
    monkeypatch.undo()
    commit_upload(upload, alice, Choices())


def test_an_upload_is_committed_once(team: Team, alice: User) -> None:
    upload = upload_file(team, alice, jsonl(20))
    commit_upload(Upload.objects.get(pk=upload.pk), alice, Choices())
    with pytest.raises(CannotCommit, match="already committed or refused"):
        commit_upload(upload, alice, Choices())
    assert DatasetVersion.objects.count() == 1


def test_stale_uploads_are_deleted_with_their_bytes_and_versions_stay(
    team: Team, alice: User, committed: DatasetVersion
) -> None:
    upload_file(team, alice, jsonl(5))
    fresh = upload_file(team, alice, jsonl(6))
    old = timezone.now() - timedelta(hours=25)
    Upload.objects.exclude(pk=fresh.pk).update(created_at=old)
    assert discard_stale_uploads() == 1
    assert {name for name in stored_files(team) if "uploads" in name} >= {f"uploads/{fresh.uid}"}
    assert default_storage.exists(committed.files["train"]["key"])


MEASURE = """
import os, resource, sys
import django
django.setup()
from webapp.datasets.uploads.validation import Options, check_file
with open(sys.argv[1], "rb") as file:
    check_file(file, "jsonl", Options())
    file.seek(0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with open(sys.argv[2], "rb") as file:
    report = check_file(file, "jsonl", Options())
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, report["rows"])
"""


def test_a_large_file_needs_no_more_memory_than_a_small_one(tmp_path: Path) -> None:
    """Between 1 MB and 96 MB of rows, a fresh process's peak grows by less than 32 MB."""
    padding = "x" * 4000
    for name, count in (("small", 250), ("large", 24_000)):
        with (tmp_path / name).open("w") as file:
            for number in range(count):
                file.write(
                    f'{{"messages":[{{"role":"user","content":"{number} {padding}"}}],"n":{number}}}\n'
                )
    arguments = [sys.executable, "-c", MEASURE, str(tmp_path / "small"), str(tmp_path / "large")]
    run = subprocess.run(arguments, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3])
    grown_kib, rows = map(int, run.stdout.split())
    assert rows == 24_000
    assert grown_kib < 32 * 1024


# --- pages ------------------------------------------------------------------------------------------


def post_file(client: Client, team: Team, data: bytes, name: str = "data.jsonl", **fields: Any) -> Any:
    values = {"file": SimpleUploadedFile(name, data), "validation": 10, "test": 10, **fields}
    return client.post(f"/t/{team.slug}/datasets/new/", values, follow=True)


@pytest.fixture
def client(alice: User, team: Team, as_user: SignIn) -> Client:
    return as_user(alice)


def test_upload_report_commit_and_rows(client: Client, team: Team) -> None:
    page = post_file(client, team, jsonl(120) + b"{\n", "Invoices.jsonl")
    html = page.content.decode()
    assert page.status_code == 200
    assert "Invoices" in html
    assert "Invalid JSON" in html
    address = page.request["PATH_INFO"]
    refused = client.post(address, {"commit": "1"}, follow=True).content.decode()
    assert "1 row has errors" in refused
    page = client.post(address, {"commit": "1", "skip_bad": "1"}, follow=True)
    assert "Invoices v1 is ready." in page.content.decode()
    assert "Prompt 0" in page.content.decode() or "Prompt 1" in page.content.decode()
    assert AuditEvent.objects.filter(verb="committed dataset version", target="Invoices v1").exists()


def test_text_of_rows_is_escaped(client: Client, team: Team) -> None:
    data = json.dumps(
        {"messages": [{"role": "user", "content": "<script>alert(1)</script>"}], "<b>": "<img>"}
    )
    html = post_file(client, team, data.encode(), name="""Q&A "<i>".jsonl""").content.decode()
    assert "<script>alert(1)" not in html
    assert "<i>" not in html
    assert "Q&amp;A" in html
    assert "&amp;amp;" not in html
    assert "&lt;script&gt;alert(1)" in html
    assert "<img>" not in html


def test_every_row_is_on_exactly_one_page_and_test_rows_on_none(
    client: Client, team: Team, committed: DatasetVersion
) -> None:
    base = committed.get_absolute_url()
    shown: list[int] = []
    for number in (1, 2, 3):
        page = client.get(base, {"split": "train", "page": number})
        if page.context["page"].number == number:
            shown += [row["item"]["label"] for row in page.context["found"].rows]
    stored = [row["item"]["label"] for row in rows_of(committed.files["train"]["key"])]
    assert shown == stored
    sealed = client.get(base, {"split": "test"})
    assert "found" not in sealed.context
    for row in rows_of(committed.files["test"]["key"]):
        assert row["messages"][0]["content"] + "<" not in sealed.content.decode()


def test_pages_far_into_a_split_are_found(team: Team, alice: User, client: Client) -> None:
    version, _ = commit_upload(upload_file(team, alice, jsonl(1400)), alice, Choices())
    last = -(-version.files["train"]["rows"] // limits.PAGE_ROWS)
    page = client.get(version.get_absolute_url(), {"page": last})
    stored = [row["item"]["label"] for row in rows_of(version.files["train"]["key"])]
    assert len(version.report["offsets"]["train"]) > 2
    assert page.context["found"].rows[-1]["item"]["label"] == stored[-1]
    assert page.context["found"].rows[-1]["number"] == len(stored)


def test_an_unknown_split_is_not_found(client: Client, committed: DatasetVersion) -> None:
    assert client.get(committed.get_absolute_url(), {"split": "secret"}).status_code == 404


def test_editors_download_what_jobs_read(client: Client, team: Team, committed: DatasetVersion) -> None:
    answer = client.get(committed.get_absolute_url() + "download/", {"split": "validation"})
    data = b"".join(asyncio.run(collect(answer)))
    assert hashlib.sha256(data).hexdigest() == committed.files["validation"]["sha256"]
    assert 'filename="data-v1-validation.jsonl"' in answer["Content-Disposition"]


async def collect(answer: Any) -> list[bytes]:
    return [chunk async for chunk in answer]


def test_a_viewer_reads_and_changes_nothing(
    bob: User, team: Team, committed: DatasetVersion, as_user: SignIn
) -> None:
    viewer, base = as_user(bob), f"/t/{team.slug}/datasets/"
    assert viewer.get(committed.get_absolute_url()).status_code == 200
    assert viewer.get(base + "new/").status_code == 403
    assert post_file(viewer, team, jsonl(1)).status_code == 403
    assert viewer.get(committed.get_absolute_url() + "download/").status_code == 403
    assert viewer.post(f"{base}{committed.dataset.uid}/delete/").status_code == 403


def test_a_deleted_dataset_leaves_the_list_keeps_its_files_and_can_be_restored(
    client: Client, team: Team, committed: DatasetVersion
) -> None:
    base = f"/t/{team.slug}/datasets/"
    client.post(f"{base}{committed.dataset.uid}/delete/")
    assert "Data</a>" not in client.get(base).content.decode()
    assert default_storage.exists(committed.files["train"]["key"])
    assert "Data</a>" in client.get(base, {"deleted": "1"}).content.decode()
    client.post(f"{base}{committed.dataset.uid}/restore/")
    assert "Data</a>" in client.get(base).content.decode()


def test_wrong_shares_and_two_columns_are_reported_at_the_field(client: Client, team: Team) -> None:
    page = post_file(client, team, jsonl(1), validation=50, test=50, prompt_column="a", messages_column="b")
    assert page.status_code == 422
    assert "holds out 100 %" in page.content.decode()
    assert "not both" in page.content.decode()


def test_a_list_of_many_datasets_needs_few_queries(
    client: Client, team: Team, alice: User, django_assert_max_num_queries: Any
) -> None:
    for number in range(12):
        dataset = Dataset.objects.create(team=team, name=f"set {number}", created_by=alice)
        DatasetVersion.objects.create(
            dataset=dataset, number=1, sha256="0", rows=0, filename="",
            files={split: {"rows": 0} for split in ("train", "validation", "test")},
        )  # fmt: skip
    with django_assert_max_num_queries(12):
        assert client.get(f"/t/{team.slug}/datasets/").status_code == 200
