"""The frame that all pages share: an ended session, the shortcut sheet, the palette's pages, dead ends."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client

from tests.web.test_shell import found
from webapp.teams.models import Team, User
from webapp.teams.sample import create_sample_project

SignIn = Callable[[User], Client]


@pytest.mark.parametrize(
    ("page", "back"),
    [
        ("http://testserver/t/acme/jobs/?state=failed", "/t/acme/jobs/?state=failed"),
        ("http://elsewhere.example/t/acme/jobs/", "/"),
    ],
)
def test_after_a_session_has_ended_the_whole_page_signs_in_and_comes_back(
    team: Team, client: Client, page: str, back: str
) -> None:
    answer = client.get(team.get_absolute_url(), headers={"hx-request": "true", "hx-current-url": page})
    sign_in = urlsplit(answer.headers["HX-Redirect"])
    assert (sign_in.path, parse_qs(sign_in.query)) == ("/accounts/login/", {"next": [back]})
    assert answer.content == b""
    plain = client.get(team.get_absolute_url())
    assert plain.headers["Location"] == f"/accounts/login/?next={team.get_absolute_url()}"


def test_the_sheet_lists_the_keys_of_the_page(team: Team, alice: User, as_user: SignIn) -> None:
    _, grader = create_sample_project(team, alice)
    sheet = as_user(alice).get(grader.get_absolute_url()).content.decode().split('id="shortcuts"')[1]
    assert "Save a version" in sheet
    assert "Save a version" not in as_user(alice).get(team.get_absolute_url()).content.decode()


@pytest.mark.parametrize("text", ["team settings", "import grader", "connect judge", "invite", "password"])
def test_the_palette_knows_every_place(team: Team, alice: User, as_user: SignIn, text: str) -> None:
    assert "Nothing in" not in found(as_user(alice), team, text)


@pytest.mark.parametrize("text", ["team settings", "import grader", "connect judge", "invite"])
def test_the_palette_names_nothing_that_would_be_refused(
    team: Team, bob: User, as_user: SignIn, text: str
) -> None:
    assert "Nothing in" in found(as_user(bob), team, text)
