"""``/v1/uploads``: large files in parts."""

from __future__ import annotations

from datetime import timedelta
from hashlib import md5
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone

from tests.api.conftest import Call
from tests.api.forms import send_form, write_rows
from webapp.datasets.files import uploads
from webapp.datasets.files.models import ApiFile, ApiPart, ApiUpload
from webapp.teams.models import Team

ROWS = write_rows(6)


def begin(call: Call, **fields: Any) -> Any:
    body = {"bytes": len(ROWS), "filename": "a.jsonl", "mime_type": "text/jsonl", "purpose": "fine-tune"}
    return call("POST", "/uploads", body | fields)


def send_part(call: Call, upload: str, data: bytes) -> Any:
    return send_form(call, f"/uploads/{upload}/parts", data=SimpleUploadedFile("upload", data))


def complete(call: Call, upload: str, parts: list[str], **fields: Any) -> Any:
    return call("POST", f"/uploads/{upload}/complete", {"part_ids": parts, **fields})


@pytest.fixture
def upload(call: Call) -> str:
    return str(begin(call).json()["id"])


@pytest.fixture
def parts(call: Call, upload: str) -> list[str]:
    """Three parts that were sent from the last to the first."""
    cut = [ROWS[60:], ROWS[5:60], ROWS[:5]]
    return [send_part(call, upload, data).json()["id"] for data in cut][::-1]


def test_the_order_of_part_ids_makes_the_content(
    call: Call, upload: str, parts: list[str], django_capture_on_commit_callbacks: Any
) -> None:
    keys = list(ApiPart.objects.values_list("key", flat=True))
    with django_capture_on_commit_callbacks(execute=True):
        done = complete(call, upload, parts, md5=md5(ROWS).hexdigest().upper()).json()
    assert (done["id"], done["object"], done["status"]) == (upload, "upload", "completed")
    assert done["file"]["bytes"] == len(ROWS)
    assert b"".join(call("GET", f"/files/{done['file']['id']}/content")) == ROWS
    assert not any(map(default_storage.exists, keys))
    assert complete(call, upload, parts).status_code == 400


def test_an_upload_and_its_parts_have_openai_s_fields(call: Call) -> None:
    expiry = {"anchor": "created_at", "seconds": 3600}
    found = begin(call, expires_after=expiry).json()
    assert found["expires_at"] - found["created_at"] in (3599, 3600, 3601)
    assert {found[key] for key in ("status", "purpose", "filename", "file")} == {
        "pending", "fine-tune", "a.jsonl", None,
    }  # fmt: skip
    part = send_part(call, found["id"], b"{").json()
    assert part.pop("id").startswith("part_")
    assert (part.pop("object"), part.pop("upload_id")) == ("upload.part", found["id"])
    assert list(part) == ["created_at"]


@pytest.mark.parametrize("name", ["a\n", "\r\nX: y", "\u202e", 'b"c', "d/e"])
def test_any_name_can_be_downloaded(call: Call, name: str) -> None:
    upload = begin(call, bytes=1, filename=name, purpose="user_data").json()["id"]
    file = complete(call, upload, [send_part(call, upload, b"x").json()["id"]]).json()["file"]
    answer = call("GET", f"/files/{file['id']}/content")
    assert answer.status_code == 200
    assert "X" not in answer.headers


def test_what_does_not_fit_is_refused_and_can_be_repeated(call: Call, upload: str, parts: list[str]) -> None:
    foreign = send_part(call, begin(call).json()["id"], ROWS[60:]).json()["id"]
    wrong = [
        ([*parts[:2]], {}, "part_ids"),
        ([*parts[:2], foreign], {}, "part_ids"),
        ([*parts[:2], "part_x"], {}, "part_ids"),
        ([*parts, parts[0]], {}, "part_ids"),
        ([], {}, "part_ids"),
        (parts, {"md5": md5(b"").hexdigest()}, "md5"),
        (parts[::-1], {}, "file"),  # no JSON Lines in this order
    ]
    for part_ids, fields, param in wrong:
        answer = complete(call, upload, part_ids, **fields)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), part_ids
    assert not ApiFile.objects.exists()
    assert complete(call, upload, parts).status_code == 200


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"bytes": 0}, "bytes"),
        ({"bytes": 8 * 2**30 + 1}, "bytes"),
        ({"bytes": 10**30}, "bytes"),
        ({"filename": ""}, "filename"),
        ({"purpose": "fine-tune-results"}, "purpose"),
        ({"mime_type": None}, "mime_type"),
        ({"expires_after": {"anchor": "created_at", "seconds": 1}}, "expires_after.seconds"),
    ],
)
def test_a_wrong_field_of_an_upload_is_named(call: Call, fields: dict[str, Any], param: str) -> None:
    answer = begin(call, **fields)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_parts_have_limits(call: Call, upload: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MAX_PART_BYTES", len(ROWS))
    assert send_part(call, upload, ROWS + b"\n").status_code == 413
    for _ in range(2):
        assert send_part(call, upload, ROWS).status_code == 200
    assert send_part(call, upload, b"\n").status_code == 400
    assert ApiPart.objects.count() == 2


def test_a_cancelled_upload_takes_nothing_more(
    call: Call, upload: str, parts: list[str], django_capture_on_commit_callbacks: Any
) -> None:
    key = ApiPart.objects.all()[0].key
    with django_capture_on_commit_callbacks(execute=True):
        assert call("POST", f"/uploads/{upload}/cancel").json()["status"] == "cancelled"
    assert not default_storage.exists(key)
    answers = [
        send_part(call, upload, ROWS),
        complete(call, upload, parts),
        call("POST", f"/uploads/{upload}/cancel"),
    ]
    assert [answer.status_code for answer in answers] == [400, 400, 400]


def test_an_upload_expires_after_an_hour(call: Call, upload: str, parts: list[str]) -> None:
    key = ApiPart.objects.all()[0].key
    assert uploads.expire_uploads() == 0
    ApiUpload.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert "expired" in complete(call, upload, parts).json()["error"]["message"]
    assert uploads.expire_uploads() == 1
    assert not default_storage.exists(key)
    assert ApiUpload.objects.get().status == "expired"


def test_uploads_of_others_are_not_found(
    viewer_call: Call, stranger_call: Call, team: Team, upload: str, parts: list[str]
) -> None:
    assert send_part(stranger_call, upload, ROWS).status_code == 404
    assert complete(stranger_call, upload, parts).status_code == 404
    assert stranger_call("POST", f"/uploads/{upload}/cancel").status_code == 404
    assert begin(viewer_call).status_code == 403
    assert viewer_call("POST", f"/uploads/{upload}/cancel").status_code == 403
