"""Resumable uploads: parts are kept, only complete files are checked, and only their owner sees them."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.files.storage import default_storage
from django.http import HttpResponse
from django.test import Client, TestCase
from django.urls import reverse
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as drawn
from hypothesis import strategies as st

from webapp.datasets.models import Transfer, Upload
from webapp.datasets.uploads import row_progress, transfers
from webapp.datasets.uploads.row_progress import RowProgress
from webapp.teams.models import Team, User
from workers.tasks import tidy

SignIn = Callable[[User], Client]
DATA = b"".join(b'{"messages":[{"role":"user","content":"p %d"}]}\n' % number for number in range(40))


def begin(client: Client, team: Team, size: int = len(DATA), **fields: str) -> Any:
    values = {"filename": "orders.jsonl", "validation": "10", "test": "10"} | fields
    metadata = ",".join(
        f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in values.items()
    )
    headers = {"Upload-Length": str(size), "Upload-Metadata": metadata, "Tus-Resumable": "1.0.0"}
    return client.post(reverse("datasets:transfers", args=[team.slug]), headers=headers)


def part(client: Client, url: str, offset: int, data: bytes) -> Any:
    kind = "application/offset+octet-stream"
    return client.patch(url, data, content_type=kind, headers={"Upload-Offset": str(offset)})


def stored() -> list[str]:
    return [key for transfer in Transfer.objects.all() for key in transfer.parts]


@drawn(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.sets(st.integers(1, len(DATA) - 1), max_size=6))
def test_any_cut_into_parts_gives_the_same_file(
    team: Team, alice: User, as_user: SignIn, cuts: set[int]
) -> None:
    client = as_user(alice)
    url = begin(client, team, name="Orders").headers["Location"]
    ends = [*sorted(cuts), len(DATA)]
    for start, end in zip([0, *ends], ends, strict=False):
        assert part(client, url, start, DATA[start:end]).headers["Upload-Offset"] == str(end)
    keys = stored()
    with TestCase.captureOnCommitCallbacks(execute=True):
        client.post(f"{url}finish/")
    upload = Upload.objects.latest("pk")
    assert (upload.name, upload.bytes, upload.report["rows"]) == ("Orders", len(DATA), 40)
    with default_storage.open(upload.file) as file:
        assert file.read() == DATA
    assert not Transfer.objects.exists()
    assert not any(default_storage.exists(key) for key in keys)


def test_a_waiting_page_gets_the_number_of_rows_done(
    team: Team, alice: User, as_user: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Progress exists while a file is checked and a version is written, and is empty afterwards."""
    client, seen = as_user(alice), list[str]()
    url = begin(client, team).headers["Location"]
    part(client, url, 0, DATA)
    count = RowProgress._count

    def count_and_look(progress: RowProgress, rows: Iterable[Any], verb: str) -> Iterator[Any]:
        for number, row in enumerate(count(progress, rows, verb)):
            if number == 1:
                seen.append(client.get(f"{current}progress/").text)
            yield row

    monkeypatch.setattr(RowProgress, "_count", count_and_look)
    monkeypatch.setattr(row_progress, "EVERY_SECONDS", 0.0)
    current = url
    report = client.post(f"{url}finish/").headers["Location"]
    current = report
    client.post(report, {"commit": "1"})
    assert seen == ["2 rows checked", "2 rows checked", "2 rows written"]
    assert client.get(f"{current}progress/").text == ""
    assert client.get(f"{url}progress/").status_code == 204, "a page may ask once more after the end"


def test_a_broken_upload_continues_at_the_servers_offset(team: Team, alice: User, as_user: SignIn) -> None:
    client = as_user(alice)
    url = begin(client, team).headers["Location"]
    part(client, url, 0, DATA[:100])
    head: HttpResponse = client.head(url)  # type: ignore[assignment]
    assert (head.headers["Upload-Offset"], head.headers["Upload-Length"]) == ("100", str(len(DATA)))
    repeated = part(client, url, 0, DATA[:100])
    assert (repeated.status_code, repeated.headers["Upload-Offset"]) == (409, "100")
    shown = client.get(reverse("datasets:new", args=[team.slug])).text
    assert "orders.jsonl" in shown
    assert "Choose the same file below to continue" in shown


def test_an_incomplete_file_is_never_checked(team: Team, alice: User, as_user: SignIn) -> None:
    client = as_user(alice)
    url = begin(client, team).headers["Location"]
    part(client, url, 0, DATA[:100])
    page = client.post(f"{url}finish/", follow=True).text
    assert f"{len(DATA) - 100:,} bytes of orders.jsonl are missing" in page
    assert not Upload.objects.exists()


@pytest.mark.parametrize("name", ["too long a file", "too long a part"])
def test_more_than_was_announced_is_refused(team: Team, alice: User, as_user: SignIn, name: str) -> None:
    client, more = as_user(alice), transfers.PART_BYTES + 1
    size, data = (3, b"1234") if name == "too long a file" else (2 * more, bytes(more))
    url = begin(client, team, size=size).headers["Location"]
    assert part(client, url, 0, data).status_code == 413
    assert stored() == []


def test_invalid_fields_are_reported_before_a_byte_is_sent(
    team: Team, alice: User, as_user: SignIn, settings: Any
) -> None:
    client = as_user(alice)
    wrong = begin(client, team, validation="90")
    assert wrong.status_code == 422
    assert "Validation, in percent" in wrong.text
    settings.MAX_UPLOAD_BYTES = 10
    large = begin(client, team)
    assert large.status_code == 413
    assert "GROOVE_MAX_UPLOAD_BYTES" in large.text
    url = reverse("datasets:transfers", args=[team.slug])
    assert client.post(url, headers={"Upload-Length": "1", "Upload-Metadata": "name %%%"}).status_code == 400


def test_a_colleague_has_no_access(team: Team, alice: User, erin: User, as_user: SignIn) -> None:
    url = begin(as_user(alice), team).headers["Location"]
    other = as_user(erin)
    assert part(other, url, 0, DATA).status_code == other.delete(url).status_code == 404
    assert other.head(url).status_code == 404


def test_discarded_and_stale_transfers_leave_no_files(team: Team, alice: User, as_user: SignIn) -> None:
    client = as_user(alice)
    for give_up in (
        lambda url: client.delete(url),
        lambda url: client.post(f"{url}forget/"),
        lambda _: Transfer.objects.update(touched_at=timezone.now() - timedelta(hours=25)) and tidy(),
    ):
        url = begin(client, team).headers["Location"]
        part(client, url, 0, DATA[:100])
        keys = stored()
        with TestCase.captureOnCommitCallbacks(execute=True):
            give_up(url)
        assert not Transfer.objects.exists()
        assert not any(default_storage.exists(key) for key in keys)


@pytest.mark.parametrize(
    "script", sorted((settings.BASE_DIR / "static/js").rglob("*.js")), ids=lambda path: path.name
)
def test_scripts_read_attributes_of_forms_and_no_properties_that_fields_hide(script: Path) -> None:
    """A field named "dataset" hides ``form.dataset``, one named "action" ``form.action``, and so on."""
    hidden = (
        r"\bform\.(dataset|action|method|target|name|id|title|hidden|length|elements(\[|\.(?!namedItem)))"
    )
    assert re.findall(hidden, script.read_text()) == []
