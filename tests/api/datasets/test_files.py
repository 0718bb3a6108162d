"""``/v1/files``: store, list, read and delete files."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.utils import timezone

from tests.api.conftest import Call
from tests.api.forms import send_file, send_form, write_rows
from webapp.datasets.files import services
from webapp.datasets.files.models import ApiFile
from webapp.teams.models import AuditEvent, Team

SFT = b'{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b","weight":1}]}\n'
DPO = (
    b'{"input":{"messages":[{"role":"user","content":"a"}]},'
    b'"preferred_output":[{"role":"assistant","content":"b"}],"non_preferred_output":[]}\n'
)


def read(answer: Any) -> bytes:
    return b"".join(answer)


def test_a_file_comes_back_as_it_was_sent(call: Call) -> None:
    rows = write_rows(3)
    sent = send_file(call, rows, name="train.jsonl")
    assert sent.status_code == 200
    found = sent.json()
    assert found == call("GET", f"/files/{found['id']}").json()
    assert found.pop("id").startswith("file-")
    assert isinstance(found.pop("created_at"), int)
    assert found == {
        "object": "file", "bytes": len(rows), "filename": "train.jsonl", "purpose": "fine-tune",
        "status": "processed", "status_details": None, "expires_at": None,
    }  # fmt: skip


@pytest.mark.parametrize("accept", ["application/binary", "*/*", "text/html"])
def test_content_is_raw_bytes_whatever_the_caller_accepts(call: Call, accept: str) -> None:
    content = b"\x00\xff any bytes"
    uid = send_file(call, content, "user_data", "a.bin").json()["id"]
    answer = call("GET", f"/files/{uid}/content", headers={"accept": accept})
    assert (answer.status_code, read(answer)) == (200, content)
    assert answer.headers["Content-Length"] == str(len(content))


@pytest.mark.parametrize("rows", [SFT, DPO])
def test_rows_of_every_method_can_be_stored(call: Call, rows: bytes) -> None:
    assert send_file(call, rows).status_code == 200


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"\n \n", "empty"),
        (b'{"a":1}\n[1]\n', "Line 2: The line contains an array"),
        (b'{"a":1}\n\n{"a":1,"a":2}\n', "Line 3: The key 'a' appears twice"),
        (b'{"a":1}\n{"a":', "Line 2: "),
        (b'{"a":NaN}\n', "Line 1: "),
        (b'{"a":"\xff"}\n', "Line 1: The line is not UTF-8"),
        (b'[{"a":1}]', "Line 1: The file is one JSON array"),
        (b"PAR1 and more", "binary"),
        (b"\x1f\x8b\x08", "compressed"),
    ],
)
def test_training_files_that_are_not_json_lines_are_refused(call: Call, content: bytes, message: str) -> None:
    answer = send_file(call, content)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, "invalid_file_format", "file")
    assert message in error["message"]
    assert not ApiFile.objects.exists()


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"purpose": "fine-tune-results"}, "purpose"),
        ({"purpose": "nonsense"}, "purpose"),
        ({"expires_after[anchor]": "created_at"}, "expires_after[seconds]"),
        ({"expires_after[anchor]": "created_at", "expires_after[seconds]": "3599"}, "expires_after[seconds]"),
        ({"expires_after[anchor]": "last_use", "expires_after[seconds]": "3600"}, "expires_after[anchor]"),
    ],
)
def test_a_wrong_field_is_named(call: Call, fields: dict[str, str], param: str) -> None:
    answer = send_file(call, SFT, **fields)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_a_form_without_file_or_purpose_is_refused(call: Call) -> None:
    answer = send_form(call, "/files", purpose="fine-tune")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "file")
    answer = send_form(call, "/files", file="not a file", purpose="fine-tune")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "file")


@pytest.mark.parametrize("name", ["ä 日本.jsonl", 'a"b;c.jsonl', "../../etc/passwd", "x" * 300, "<b>.csv"])
def test_odd_names_are_stored(call: Call, name: str) -> None:
    found = send_file(call, SFT, name=name).json()
    assert 0 < len(found["filename"]) <= 255
    assert "/" not in found["filename"]
    assert call("GET", f"/files/{found['id']}/content").status_code == 200


def test_nul_in_a_form_is_refused(call: Call) -> None:
    answer = send_file(call, SFT, purpose="fine\0tune")
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")


def test_a_file_above_the_limit_is_refused(call: Call, settings: Any) -> None:
    settings.MAX_API_FILE_BYTES = len(SFT) - 1
    assert send_file(call, SFT).status_code == 413
    assert not ApiFile.objects.exists()


def test_lists_have_pages_orders_and_purposes(call: Call) -> None:
    uids = [send_file(call, SFT, purpose).json()["id"] for purpose in ("evals", "fine-tune", "evals")]
    page = call("GET", "/files?limit=2").json()
    assert ([each["id"] for each in page["data"]], page["has_more"]) == ([uids[2], uids[1]], True)
    assert (page["object"], page["first_id"], page["last_id"]) == ("list", uids[2], uids[1])
    page = call("GET", f"/files?limit=2&after={uids[1]}").json()
    assert ([each["id"] for each in page["data"]], page["has_more"]) == ([uids[0]], False)
    assert [each["id"] for each in call("GET", "/files?order=asc").json()["data"]] == uids
    evals = call("GET", "/files?purpose=evals&order=asc").json()["data"]
    assert [each["id"] for each in evals] == [uids[0], uids[2]]
    for wrong in ("limit=0", "limit=10001", "after=file-x", "order=up"):
        assert call("GET", f"/files?{wrong}").status_code == 400, wrong


def test_a_deleted_file_is_gone_and_its_bytes_follow(call: Call, team: Team) -> None:
    uid = send_file(call, SFT).json()["id"]
    assert call("DELETE", f"/files/{uid}").json() == {"id": uid, "object": "file", "deleted": True}
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/content")):
        answer = call(method, f"/files/{uid}{path}")
        assert answer.status_code == 404
        assert answer.json()["error"] == {
            "message": f"No such File object: {uid}", "type": "invalid_request_error",
            "param": "id", "code": None,
        }  # fmt: skip
    assert call("GET", "/files").json()["data"] == []
    file = ApiFile.objects.get()
    assert services.delete_removed_bytes() == 0  # a job that was just created may still read it
    ApiFile.objects.update(deleted_at=timezone.now() - 2 * services.DELETED_KEPT)
    assert services.delete_removed_bytes() == 1
    assert not default_storage.exists(file.key)
    assert AuditEvent.objects.filter(team=team, verb="deleted file").count() == 1


def test_an_expired_file_is_gone(call: Call) -> None:
    expiry = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    found = send_file(call, SFT, **expiry).json()
    assert found["expires_at"] - found["created_at"] in (3599, 3600, 3601)
    ApiFile.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert call("GET", f"/files/{found['id']}").status_code == 404
    assert services.delete_removed_bytes() == 1


def test_a_failed_store_leaves_neither_row_nor_bytes(
    call: Call, team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("the audit trail is full")

    monkeypatch.setattr(services, "record_event", fail)
    assert send_file(call, SFT).status_code == 500
    assert not ApiFile.objects.exists()
    assert default_storage.listdir(f"teams/{team.pk}/files")[1] == []


def test_a_viewer_reads_descriptions_only(call: Call, viewer_call: Call) -> None:
    uid = send_file(call, SFT).json()["id"]
    assert viewer_call("GET", f"/files/{uid}").status_code == 200
    assert send_file(viewer_call, SFT).status_code == 403
    assert viewer_call("DELETE", f"/files/{uid}").status_code == 403
    assert viewer_call("GET", f"/files/{uid}/content").status_code == 403  # as downloads on the pages


def test_everybody_in_the_team_reads_results(viewer_call: Call, team: Team) -> None:
    stored = services.store_result(team, "metrics.csv", b"step\n1\n")
    assert read(viewer_call("GET", f"/files/{stored.uid}/content")) == b"step\n1\n"
    assert viewer_call("GET", f"/files/{stored.uid}").json()["purpose"] == "fine-tune-results"


def test_a_stranger_finds_nothing(call: Call, stranger_call: Call) -> None:
    uid = send_file(call, SFT).json()["id"]
    assert stranger_call("GET", "/files").json()["data"] == []
    assert stranger_call("GET", f"/files?after={uid}").status_code == 400
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/content")):
        assert stranger_call(method, f"/files/{uid}{path}").status_code == 404
