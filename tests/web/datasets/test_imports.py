"""Imports: a worker downloads a file through the outbound client, and it is checked like any upload."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from django.conf import LazySettings
from django.utils import timezone

from tests.web.datasets.test_datasets import SignIn, jsonl
from tests.workers.outbound.test_requests import send, serve
from webapp.datasets.models import DatasetImport, Upload
from webapp.datasets.uploads import imports
from webapp.datasets.uploads.imports import IMPORTS
from webapp.teams.models import Team, User
from workers.bridge.imports import run_import

PATHS: dict[str, Any] = {
    "/rows.jsonl": jsonl(40),
    "/api/datasets/owner/one/parquet": {"default": {"train": ["{base}/rows.jsonl"], "test": ["{base}/no"]}},
    "/api/datasets/owner/many/parquet": {"a": {"train": []}, "b": {"train": []}},
    "/api/datasets/owner/shards/parquet": {"default": {"train": ["{base}/1", "{base}/2"]}},
    "/api/datasets/owner/odd/parquet": [1],
}


@pytest.fixture
def base(monkeypatch: pytest.MonkeyPatch, settings: LazySettings) -> Iterator[str]:
    """A server with files and with fake answers of the Hugging Face hub."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        body = PATHS.get(handler.path)
        if body is None:
            return send(handler, b"nothing here", 404)
        data = (
            body if isinstance(body, bytes) else json.dumps(body).replace("{base}", settings.HUB_URL).encode()
        )
        return send(handler, data)

    monkeypatch.setenv("GROOVE_OUTBOUND_ALLOW", "127.0.0.1")
    with serve(answer) as port:
        settings.HUB_URL = f"http://127.0.0.1:{port}"
        yield settings.HUB_URL


def start(team: Team, user: User, source: str) -> DatasetImport:
    return imports.request_import(team, user, source=source, name="", options=imports.Options(), dataset=None)


@pytest.mark.parametrize("source", ["{base}/rows.jsonl", "owner/one", "{base}/datasets/owner/one"])
def test_a_file_is_downloaded_and_its_report_is_shown(
    team: Team, alice: User, as_user: SignIn, base: str, source: str
) -> None:
    client = as_user(alice)
    page = client.post(f"/t/{team.slug}/datasets/imports/", {"source": source.format(base=base)}, follow=True)
    assert "Waiting for a worker." in page.text
    found = DatasetImport.objects.get()
    run_import(found.pk)
    found.refresh_from_db()
    assert found.state == "finished", found.error
    report = client.get(found.get_absolute_url(), follow=True)
    assert "All rows can be used" in report.text
    upload = Upload.objects.get()
    assert (upload.name, upload.filename, upload.report["rows"]) == ("rows", "rows.jsonl", 40)
    polled = client.get(found.get_absolute_url(), headers={"hx-request": "true"})
    assert polled.headers["HX-Redirect"] == upload.get_absolute_url()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{base}/none.jsonl", "answered with status 404"),
        ("owner/many", "has the subsets a, b"),
        ("owner/shards", "has 2 files"),
        ("owner/odd", "has no Parquet files"),
    ],
)
def test_failed_imports_show_the_reason(
    team: Team, alice: User, as_user: SignIn, base: str, source: str, words: str
) -> None:
    found = start(team, alice, source.format(base=base))
    run_import(found.pk)
    page = as_user(alice).get(found.get_absolute_url()).text
    assert words in page
    assert not Upload.objects.exists()


def test_internal_addresses_are_refused(
    team: Team, alice: User, base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROOVE_OUTBOUND_ALLOW", "")
    found = start(team, alice, f"{base}/rows.jsonl")
    run_import(found.pk)
    found.refresh_from_db()
    assert found.state == "failed"
    assert not Upload.objects.exists()


def test_a_file_above_the_limit_is_refused(
    team: Team, alice: User, base: str, settings: LazySettings
) -> None:
    settings.MAX_UPLOAD_BYTES = 100
    found = start(team, alice, f"{base}/rows.jsonl")
    run_import(found.pk)
    found.refresh_from_db()
    assert found.state == "failed"
    assert not Upload.objects.exists()


@pytest.mark.parametrize(
    "source", ["file:///etc/passwd", "ftp://a/b", "https://", "https://u:p@a.example/b", "a b", ""]
)
def test_other_sources_are_refused_in_the_form(team: Team, alice: User, as_user: SignIn, source: str) -> None:
    as_user(alice).post(f"/t/{team.slug}/datasets/imports/", {"source": source})
    assert not DatasetImport.objects.exists()


def test_the_operator_may_forbid_imports(
    team: Team, alice: User, as_user: SignIn, settings: LazySettings
) -> None:
    settings.DATASET_IMPORTS = False
    client = as_user(alice)
    page = client.post(f"/t/{team.slug}/datasets/imports/", {"source": "owner/one"}, follow=True)
    assert "Imports are disabled on this server." in page.text
    assert "Import from a URL" not in page.text
    assert not DatasetImport.objects.exists()


def test_a_team_has_few_imports_at_a_time_and_may_cancel(
    team: Team, alice: User, as_user: SignIn, base: str
) -> None:
    started = [start(team, alice, f"{base}/rows.jsonl") for _ in range(imports.MOST_WAITING)]
    with pytest.raises(imports.ImportRefused):
        start(team, alice, f"{base}/rows.jsonl")
    as_user(alice).post(f"{started[0].get_absolute_url()}cancel/")
    run_import(started[0].pk)
    assert not Upload.objects.exists()
    start(team, alice, f"{base}/rows.jsonl")


def test_a_silent_workers_import_is_queued_again_and_its_late_result_is_dropped(
    team: Team, alice: User, base: str
) -> None:
    late = IMPORTS.claim(start(team, alice, f"{base}/rows.jsonl").pk)
    assert late is not None
    DatasetImport.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    IMPORTS.requeue_silent()
    run_import(late.pk)
    assert not IMPORTS.finish(late)
    late.refresh_from_db()
    assert (late.state, late.attempt, Upload.objects.count()) == ("finished", 2, 1)
