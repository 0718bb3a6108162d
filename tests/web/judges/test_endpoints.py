"""Endpoints of judges: owners connect them, and keys never leave the server."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest
from django.db import connection
from django.test import Client
from django.utils.log import AdminEmailHandler
from django.views.debug import ExceptionReporter

from tests.workers.judge_server import KEY
from webapp.calibration import services as calibration
from webapp.endpoints import services as endpoints
from webapp.endpoints.models import Endpoint
from webapp.graders.models import Grader, GraderTrial
from webapp.teams.models import AuditEvent, Team, User

AsUser = Callable[[User], Client]
FORM = {
    "name": "mine",
    "base_url": "http://judge.example/v1/",
    "api_key": KEY,
    "concurrency": 4,
    "timeout_seconds": 30,
    "input_price": 0,
    "output_price": 0,
}


def test_an_owner_connects_a_judge_and_the_key_is_stored_encrypted(
    as_user: AsUser, alice: User, team: Team, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        page = as_user(alice).post(f"/t/{team.slug}/judges/new/", FORM, follow=True)
    assert "Connected “mine”" in page.content.decode()
    stored = Endpoint.objects.get()
    assert (stored.api_key, stored.base_url, stored.key_hint) == (KEY, "http://judge.example/v1", KEY[-4:])
    with connection.cursor() as cursor:
        cursor.execute("select api_key from endpoints_endpoint")
        assert KEY not in cursor.fetchone()[0]
    assert KEY not in page.content.decode() + caplog.text
    assert not AuditEvent.objects.filter(target__contains=KEY).exists()


def test_the_key_is_on_no_page_and_an_empty_field_keeps_it(
    as_user: AsUser, alice: User, team: Team, endpoint: Endpoint
) -> None:
    client = as_user(alice)
    for place in ("", f"{endpoint.uid}/", "new/"):
        assert KEY not in client.get(f"/t/{team.slug}/judges/{place}").content.decode()
    changed = FORM | {"name": "gpt-judge", "base_url": endpoint.base_url, "api_key": "", "budget": 5}
    client.post(f"/t/{team.slug}/judges/{endpoint.uid}/", changed)
    endpoint.refresh_from_db()
    assert (endpoint.api_key, endpoint.budget) == (KEY, 5)
    refused = client.post(f"/t/{team.slug}/judges/new/", FORM | {"name": "gpt-judge"})
    assert refused.status_code == 422
    assert "has this name" in refused.content.decode()
    assert KEY not in refused.content.decode()


def test_a_key_does_not_follow_to_another_address(
    as_user: AsUser, alice: User, team: Team, endpoint: Endpoint
) -> None:
    moved = FORM | {"name": "gpt-judge", "base_url": "http://elsewhere.example/v1", "api_key": ""}
    as_user(alice).post(f"/t/{team.slug}/judges/{endpoint.uid}/", moved)
    endpoint.refresh_from_db()
    assert (endpoint.base_url, endpoint.api_key or "") == ("http://elsewhere.example/v1", "")


def test_the_form_refuses_an_internal_address_and_says_who_can_allow_it(
    team: Team, alice: User, as_user: Callable[[User], Client]
) -> None:
    for url in (
        "http://10.0.0.1/v1",
        "http://[::1]/v1",
        "http://2130706434/v1",
        "http://u:p@judge.example/v1",
    ):
        answer = as_user(alice).post(f"/t/{team.slug}/judges/new/", FORM | {"base_url": url})
        assert (answer.status_code, Endpoint.objects.exists()) == (422, False)
    answer = as_user(alice).post(f"/t/{team.slug}/judges/new/", FORM | {"base_url": "http://10.0.0.1/v1"})
    assert "GROOVE_OUTBOUND_ALLOW" in answer.content.decode()


@pytest.mark.parametrize("wrong", [{"concurrency": 257}, {"timeout_seconds": 601}, {"budget": 0}])
def test_limits_that_no_job_could_run_with_are_refused_in_the_form(
    as_user: AsUser, alice: User, team: Team, wrong: dict[str, Any]
) -> None:
    refused = as_user(alice).post(f"/t/{team.slug}/judges/new/", FORM | wrong)
    assert (refused.status_code, Endpoint.objects.count()) == (422, 0)


def test_disconnecting_forgets_the_key_and_frees_the_name(
    as_user: AsUser, alice: User, team: Team, endpoint: Endpoint
) -> None:
    as_user(alice).post(f"/t/{team.slug}/judges/{endpoint.uid}/delete/")
    endpoint.refresh_from_db()
    assert endpoint.api_key is None
    endpoints.connect_endpoint(team, alice, name="gpt-judge", base_url="http://new.example/v1")


def test_only_owners_connect_judges_and_strangers_see_none(
    as_user: AsUser,
    bob: User,
    charlie: User,
    team: Team,
    endpoint: Endpoint,
    grader: Grader,
    trial: GraderTrial,
) -> None:
    version, task = grader.versions.get(), calibration.create_label_task(grader, bob, trial)
    pages = ["", "new/", f"{endpoint.uid}/", f"cards/{version.uid}/", f"labels/{task.uid}/"]
    viewer = [as_user(bob).get(f"/t/{team.slug}/judges/{page}").status_code for page in pages]
    assert viewer == [200, 403, 403, 200, 403]
    stranger = [as_user(charlie).get(f"/t/{team.slug}/judges/{page}").status_code for page in pages]
    assert stranger == [404] * 5
    theirs = Team.objects.get(memberships__user=charlie)
    across = [as_user(charlie).get(f"/t/{theirs.slug}/judges/{page}").status_code for page in pages[2:]]
    assert across == [404] * 3
    posts = [
        f"{endpoint.uid}/check/",
        f"{endpoint.uid}/delete/",
        f"cards/{version.uid}/make/",
        f"labels/start/{grader.uid}/",
    ]
    assert [as_user(charlie).post(f"/t/{theirs.slug}/judges/{page}").status_code for page in posts] == [
        404
    ] * 4
    assert [as_user(bob).post(f"/t/{team.slug}/judges/{page}").status_code for page in posts] == [403] * 4


@pytest.mark.parametrize("place", ["new/", "{uid}/"])
def test_no_error_report_holds_the_key(
    alice: User, team: Team, endpoint: Endpoint, settings: Any, place: str, client: Client
) -> None:
    client.raise_request_exception = False
    client.force_login(alice)
    reports: list[str] = []

    class Reporter(ExceptionReporter):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            reports.append(self.get_traceback_html() + self.get_traceback_text())

    settings.DEFAULT_EXCEPTION_REPORTER = f"{__name__}.Reporter"
    globals()["Reporter"] = Reporter
    settings.ADMINS = [("admin", "admin@example.com")]
    settings.DEBUG = False
    logger = logging.getLogger("django.request")
    handler = AdminEmailHandler(reporter_class=f"{__name__}.Reporter")
    logger.addHandler(handler)
    try:
        with (
            patch("django.db.models.query.QuerySet._insert", side_effect=RuntimeError("no database")),
            patch("django.db.models.Model.save", side_effect=RuntimeError("no database")),
        ):
            where = f"/t/{team.slug}/judges/{place.format(uid=endpoint.uid)}"
            answered = client.post(where, FORM | {"name": "another", "api_key": "sk-another-secret-12345678"})
    finally:
        logger.removeHandler(handler)
    assert answered.status_code == 500
    assert reports
    assert "no database" in reports[0]
    assert "sk-another-secret-12345678" not in "".join(reports)
