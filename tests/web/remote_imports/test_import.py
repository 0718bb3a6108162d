"""An owner takes over files and jobs from another service; its key stays nowhere."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from django.apps import apps
from django.core.cache import cache
from django.test import Client

from tests.api.forms import write_rows
from tests.workers.outbound.test_requests import send, serve
from webapp.datasets.models import DatasetVersion
from webapp.registry.services import ensure_starter_model
from webapp.remote_imports import services
from webapp.remote_imports.models import ImportedItem, RemoteImport
from webapp.teams.models import Team, User
from workers.bridge.remote_imports import run_import

SignIn = Callable[[User], Client]
KEY = "sk-of-another-service"
TICKET = re.compile(r'name="ticket" value="([^"]+)"')
GRADER = {
    "type": "score_model", "name": "tone", "model": "far-away", "range": [0, 1],
    "input": [{"role": "user", "content": "Rate {{sample.output_text}}."}],
}  # fmt: skip
JOB: dict[str, Any] = {
    "object": "fine_tuning.job", "id": "ftjob-1", "model": "o4-mini", "created_at": 1, "status": "succeeded",
    "training_file": "file-1", "validation_file": "file-gone", "fine_tuned_model": "ft:o4-mini:x", "seed": 7,
    "metadata": {"a": "b"}, "integrations": [{"type": "wandb", "wandb": {"project": "p"}}],
    "method": {"type": "reinforcement", "reinforcement": {
        "grader": GRADER, "response_format": {"type": "json_object"},
        "hyperparameters": {
            "n_epochs": 3, "batch_size": 4000, "compute_multiplier": 2, "eval_interval": "auto",
            "invented": 1,
        }}},
}  # fmt: skip
SUPERVISED = JOB | {"id": "ftjob-2", "method": {"type": "supervised", "supervised": {"hyperparameters": {}}}}
FILE = {"object": "file", "id": "file-1", "bytes": 9, "created_at": 1, "filename": "rows <b>.jsonl",
        "purpose": "fine-tune", "status": "processed"}  # fmt: skip
OBJECTS: dict[str, Any] = {
    "/v1/files": {"object": "list", "data": [FILE], "has_more": False},
    "/v1/files/file-1": FILE,
    "/v1/files/file-1/content": write_rows(30),
    "/v1/fine_tuning/jobs": {"object": "list", "data": [JOB, SUPERVISED], "has_more": False},
    "/v1/fine_tuning/jobs/ftjob-1": JOB,
    "/v1/fine_tuning/jobs/ftjob-2": SUPERVISED,
}


@pytest.fixture
def service() -> Iterator[str]:
    """A service with OpenAI's API. Gives its base URL."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if handler.headers["authorization"] != f"Bearer {KEY}":
            return send(handler, b'{"error":{"message":"secret words"}}', 401)
        found = OBJECTS.get(handler.path.partition("?")[0])
        if found is None:
            return send(handler, b'{"error":{"message":"secret words"}}', 404)
        if isinstance(found, bytes):
            return send(handler, found)
        return send(handler, json.dumps(found).encode(), content_type="application/json")

    with serve(answer) as port:
        yield f"http://127.0.0.1:{port}/v1"


def connect(client: Client, team: Team, url: str, key: str = KEY) -> Any:
    return client.post(f"/t/{team.slug}/import/", {"base_url": url, "api_key": key})


def take_over(client: Client, team: Team, url: str, **chosen: list[str]) -> RemoteImport:
    """Connect, choose and run the import."""
    ticket = TICKET.findall(connect(client, team, url).text)[0]
    client.post(f"/t/{team.slug}/import/start/", {"ticket": ticket, **chosen})
    found = RemoteImport.objects.get()
    run_import(found.pk)
    found.refresh_from_db()
    return found


def test_a_file_becomes_a_dataset(team: Team, alice: User, as_user: SignIn, service: str) -> None:
    client = as_user(alice)
    found = take_over(client, team, service, file=["file-1"])
    assert (found.state, [item.problem for item in found.report.items]) == ("finished", [""])
    version = DatasetVersion.objects.get()
    assert (version.dataset.team, version.rows, version.dataset.name) == (team, 30, "rows <b>")
    page = client.get(found.get_absolute_url()).text
    assert "rows <b>" not in page
    assert version.get_absolute_url() in page


def test_a_job_becomes_a_dataset_a_grader_and_settings(
    team: Team, alice: User, as_user: SignIn, service: str
) -> None:
    ensure_starter_model()
    client = as_user(alice)
    found = take_over(client, team, service, job=["ftjob-1"])
    (item,) = found.report.items
    assert item.settings == {"grpo": {"epochs": 3, "max_steps": None}, "evaluation": {}, "seed": 7}
    page = client.get(found.get_absolute_url()).text
    launch = re.findall(r'href="([^"]+/jobs/new/[^"]+)"', page)[0].replace("&amp;", "&")
    form = client.get(launch).context["form"]
    chosen = {name: form[name].value() for name in ("grpo__epochs", "seed")}
    assert chosen == {"grpo__epochs": 3, "seed": 7}
    assert str(form.initial["grader_version"]).startswith("tone")
    assert form.initial["dataset_version"] == DatasetVersion.objects.get()


def test_what_a_job_loses_is_said_item_by_item(
    team: Team, alice: User, as_user: SignIn, service: str
) -> None:
    found = take_over(as_user(alice), team, service, job=["ftjob-1", "ftjob-2"])
    notes = "\n".join(found.report.items[0].notes)
    for words in (
        "Validation file: File file-gone is not at this service. Some training rows are held out",
        "asks the judge “far-away”", "Base model “o4-mini” is not on this server", "batch_size '4000' has no",
        "invented '1' has no", "compute_multiplier 2.0: it multiplies", "Integrations:", "Response format:",
        "Metadata:", "Tuned model “ft:o4-mini:x”", "checkpoints and result files stay",
    ):  # fmt: skip
        assert words in notes
    assert "a supervised job has no counterpart" in "\n".join(found.report.items[1].notes)


def test_an_item_that_is_gone_does_not_stop_the_others(
    team: Team, alice: User, as_user: SignIn, service: str
) -> None:
    found = take_over(as_user(alice), team, service, file=["file-0", "file-1"], job=["ftjob-0"])
    problems = [item.problem for item in found.report.items]
    assert problems == ["File file-0 is not at this service.", "", "Job ftjob-0 is not at this service."]


def test_the_key_stays_nowhere(
    team: Team, alice: User, as_user: SignIn, service: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        client = as_user(alice)
        page = connect(client, team, service).text
        ticket = TICKET.findall(page)[0]
        stored = str([list(model._default_manager.values()) for model in apps.get_models()])
        kept = str(cache.get(f"remote_key:{team.pk}:{ticket}"))
        found = take_over(client, team, service, file=["file-1"])
        page += client.get(found.get_absolute_url()).text
        stored += str([list(model._default_manager.values()) for model in apps.get_models()])
    assert KEY not in page + stored + kept + caplog.text
    assert cache.get(f"remote_key:{team.pk}:{found.ticket}") is None


def test_a_key_that_is_gone_is_asked_for_again(
    team: Team, alice: User, as_user: SignIn, service: str
) -> None:
    client = as_user(alice)
    ticket = TICKET.findall(connect(client, team, service).text)[0]
    found = services.request_import(team, alice, ticket, files=["file-1"], jobs=[])
    cache.clear()
    run_import(found.pk)
    found.refresh_from_db()
    assert found.error
    assert "Connect again" in found.error.message
    start = {"ticket": ticket, "file": ["file-1"]}
    assert "Connect again" in client.post(f"/t/{team.slug}/import/start/", start, follow=True).text


def test_a_ticket_works_for_its_team_only(
    team: Team, alice: User, charlie: User, as_user: SignIn, service: str
) -> None:
    ticket = TICKET.findall(connect(as_user(alice), team, service).text)[0]
    with pytest.raises(services.ImportRefused):
        services.request_import(charlie.teams.get(), charlie, ticket, files=["file-1"], jobs=[])


def test_a_second_attempt_goes_on_where_a_dead_worker_stopped(
    team: Team, alice: User, as_user: SignIn, service: str
) -> None:
    ticket = TICKET.findall(connect(as_user(alice), team, service).text)[0]
    found = services.request_import(team, alice, ticket, files=["file-0", "file-1"], jobs=[])
    found.report.items.append(ImportedItem(kind="file", remote_id="file-0", problem="handled before"))
    found.save()
    run_import(found.pk)
    found.refresh_from_db()
    assert [item.problem for item in found.report.items] == ["handled before", ""]


@pytest.mark.parametrize(
    ("url", "key", "words"),
    [
        ("{service}", "wrong", "The service refused the key."),
        ("{service}/none", KEY, "is not at this service"),
        ("http://127.0.0.1:1/v1", KEY, "cannot be reached: connection refused"),
        ("http://api.example/v1", KEY, "must begin with https://"),
        ("https://10.0.0.1/v1", KEY, "is not a public address"),
        ("{service}", "two words", "no spaces"),
    ],
)
def test_a_service_that_cannot_be_read_is_explained(
    team: Team, alice: User, as_user: SignIn, service: str, url: str, key: str, words: str
) -> None:
    page = connect(as_user(alice), team, url.format(service=service), key)
    assert page.status_code == 422
    assert words in page.text
    assert "secret words" not in page.text


@pytest.mark.parametrize(
    "answer",
    [b"<html>", b"[]", b'{"data": 5}', b'{"data": [{"id": 5}]}', b'{"data": [7], "has_more": false}'],
)
def test_an_answer_in_another_form_is_explained(
    team: Team, alice: User, as_user: SignIn, answer: bytes
) -> None:
    def reply(handler: BaseHTTPRequestHandler) -> None:
        send(handler, answer, content_type="application/json")

    with serve(reply) as port:
        page = connect(as_user(alice), team, f"http://127.0.0.1:{port}/v1")
    assert "another form" in page.text


def test_redirects_are_not_followed(team: Team, alice: User, as_user: SignIn, service: str) -> None:
    def redirect(handler: BaseHTTPRequestHandler) -> None:
        send(handler, b"", 302, location=service)

    with serve(redirect) as port:
        page = connect(as_user(alice), team, f"http://127.0.0.1:{port}/v1")
    assert "answered with status 302" in page.text


def test_only_owners_import(team: Team, erin: User, as_user: SignIn) -> None:
    assert as_user(erin).get(f"/t/{team.slug}/import/").status_code == 403
