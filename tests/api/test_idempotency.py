"""``Idempotency-Key``: a request that is sent twice runs once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connections
from django.test import Client
from django.utils import timezone

from tests.api.conftest import Call, make_call, make_secret
from webapp.keys import idempotency
from webapp.keys.models import ApiKey, StoredAnswer
from webapp.teams.models import Membership, Team, User

ONCE = {"idempotency-key": "a1"}


def send(call: Call, body: Any, path: str = "/sample/write", **headers: str) -> Any:
    return call("POST", path, body, headers=ONCE | headers)


def test_a_repeated_request_gets_the_first_answer_and_runs_once(call: Call, sample: list[str]) -> None:
    first, second = send(call, {"a": 1}), send(call, {"a": 1})
    assert first.json() == second.json() == {"number": 1, "body": {"a": 1}}
    assert [each.headers.get("idempotent-replayed") for each in (first, second)] == [None, "true"]
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    assert len(sample) == 1
    assert call("POST", "/sample/write", {"a": 1}).json()["number"] == 2


def test_another_body_or_url_with_the_same_key_is_refused(call: Call, sample: list[str]) -> None:
    send(call, {"a": 1})
    for answer in (send(call, {"a": 2}), send(call, {"a": 1}, "/sample/write?x=1")):
        assert answer.status_code == 400
        assert "used for another request" in answer.json()["error"]["message"]
    assert len(sample) == 1


def test_the_name_belongs_to_one_api_key(team: Team, alice: User, call: Call, sample: list[str]) -> None:
    send(call, {"a": 1})
    assert send(make_call(make_secret(team, alice)), {"a": 2}).json()["number"] == 2


def test_an_upload_is_the_same_whatever_its_boundary(secret: str, sample: list[str]) -> None:
    client = Client(headers={"authorization": f"Bearer {secret}"} | ONCE)
    answers = []
    for boundary, content in (("one", b"x"), ("two", b"x"), ("two", b"y")):
        name = b'--%s\r\nContent-Disposition: form-data; name="purpose"\r\n\r\np\r\n' % boundary.encode()
        file = b'--%s\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n%s\r\n--%s--\r\n'
        body = name + file % (boundary.encode(), content, boundary.encode())
        kind = f"multipart/form-data; boundary={boundary}"
        answers.append(client.generic("POST", "/v1/sample/upload", body, kind))
    assert [each.status_code for each in answers] == [200, 200, 400]
    assert answers[0].json() == answers[1].json() == {"number": 1, "bytes": 1}
    assert sample == ["p"]


def test_the_file_still_reaches_the_view(secret: str, sample: list[str]) -> None:
    client = Client(headers={"authorization": f"Bearer {secret}"} | ONCE)
    data = {"purpose": "p", "file": SimpleUploadedFile("a", b"12345")}
    assert client.post("/v1/sample/upload", data).json()["bytes"] == 5


def test_a_validation_error_is_replayed_but_a_fault_is_tried_again(call: Call, sample: list[str]) -> None:
    assert [send(call, [], **{"idempotency-key": "v"}).status_code for _ in range(2)] == [400, 400]
    assert StoredAnswer.objects.get().status == 400
    assert [send(call, {}, "/sample/fail").status_code for _ in range(2)] == [500, 500]
    assert len(sample) == 2


def test_a_stream_is_not_replayed(call: Call, sample: list[str]) -> None:
    texts = [b"".join(send(call, {}, "/sample/infer")) for _ in range(2)]
    assert texts == [b"data: 1\n\n", b"data: 2\n\n"]


def test_an_answer_is_replayed_for_a_day_and_then_deleted(call: Call, sample: list[str]) -> None:
    send(call, {"a": 1})
    StoredAnswer.objects.update(created_at=timezone.now() - timedelta(hours=23, minutes=59))
    assert send(call, {"a": 1}).json()["number"] == 1
    assert idempotency.delete_expired_answers() == 0
    StoredAnswer.objects.update(created_at=timezone.now() - timedelta(hours=24))
    assert send(call, {"a": 2}).json()["number"] == 2
    StoredAnswer.objects.update(created_at=timezone.now() - timedelta(hours=24))
    assert idempotency.delete_expired_answers() == 1


def test_who_has_left_gets_no_stored_answer(call: Call, alice: User, sample: list[str]) -> None:
    send(call, {"a": 1})
    Membership.objects.filter(user=alice).delete()
    assert send(call, {"a": 1}).status_code == 401


def test_stored_answers_are_encrypted(call: Call, sample: list[str]) -> None:
    send(call, {"a": "a phrase to find"})
    with connections["default"].cursor() as cursor:
        cursor.execute("select body from keys_storedanswer")
        assert "phrase" not in cursor.fetchone()[0]


@pytest.mark.django_db(transaction=True)
def test_of_twins_that_arrive_at_once_one_runs(secret: str, sample: list[str]) -> None:
    def send_twin(_: int) -> Any:
        try:
            return send(make_call(secret), {"seconds": 0.3}).json()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(send_twin, range(4)))
    assert [each["number"] for each in answers] == [1, 1, 1, 1]


@pytest.mark.django_db(transaction=True)
def test_a_twin_that_waits_too_long_is_told_to_try_again(
    secret: str, sample: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, "WAIT_SECONDS", 0.2)
    with ThreadPoolExecutor(1) as pool, idempotency._hold_lock(ApiKey.objects.get(), "a1"):

        def wait() -> Any:
            try:
                return send(make_call(secret), {})
            finally:
                connections.close_all()

        assert pool.submit(wait).result().status_code == 409
    assert sample == []
