"""Parts that all pages share: expired sessions, shortcuts, pages of the palette, error pages."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from django.test import Client, RequestFactory
from django.views.defaults import bad_request, server_error

from tests.web.site.test_shell import found
from webapp.home.sample_project import create_sample_project
from webapp.teams.models import Team, User

SignIn = Callable[[User], Client]


@pytest.mark.parametrize(
    ("page", "back"),
    [
        ("http://testserver/t/acme/jobs/?state=failed", "/t/acme/jobs/?state=failed"),
        ("http://elsewhere.example/t/acme/jobs/", "/"),
    ],
)
def test_an_expired_session_redirects_the_whole_page_to_sign_in_and_back(
    team: Team, client: Client, page: str, back: str
) -> None:
    answer = client.get(team.get_absolute_url(), headers={"hx-request": "true", "hx-current-url": page})
    sign_in = urlsplit(answer.headers["HX-Redirect"])
    assert (sign_in.path, parse_qs(sign_in.query)) == ("/accounts/login/", {"next": [back]})
    assert answer.content == b""
    plain = client.get(team.get_absolute_url())
    assert plain.headers["Location"] == f"/accounts/login/?next={team.get_absolute_url()}"


def test_the_shortcut_list_shows_the_keys_of_the_page(team: Team, alice: User, as_user: SignIn) -> None:
    _, grader = create_sample_project(team, alice)
    sheet = as_user(alice).get(grader.get_absolute_url()).content.decode().split('id="shortcuts"')[1]
    assert "Save a version" in sheet
    assert "Save a version" not in as_user(alice).get(team.get_absolute_url()).content.decode()


def test_a_form_sent_with_an_expired_session_changes_nothing_and_says_so(
    team: Team, alice: User, client: Client
) -> None:
    members = f"/t/{team.slug}/members/"
    pk = team.memberships.get(user=alice).pk
    page = client.post(
        f"{members}{pk}/remove/", follow=True, headers={"referer": f"http://testserver{members}"}
    )
    assert page.redirect_chain == [(f"/accounts/login/?{urlencode({'next': members})}", 302)]
    assert "You were signed out, so nothing was changed." in page.content.decode()
    assert team.members.count() == 1


@pytest.mark.parametrize("text", ["team settings", "import grader", "connect judge", "invite", "password"])
def test_the_palette_finds_every_page(team: Team, alice: User, as_user: SignIn, text: str) -> None:
    assert "No results for" not in found(as_user(alice), team, text)


@pytest.mark.parametrize("text", ["team settings", "import grader", "connect judge", "invite"])
def test_the_palette_hides_pages_that_the_role_cannot_open(
    team: Team, bob: User, as_user: SignIn, text: str
) -> None:
    assert "No results for" in found(as_user(bob), team, text)


def test_a_dead_link_is_explained(team: Team, alice: User, as_user: SignIn) -> None:
    client = as_user(alice)
    invitation = client.get("/invitations/unknown/")
    assert invitation.status_code == 404
    assert "This link no longer works" in invitation.content.decode()
    for address in (f"/t/{team.slug}/jobs/ftjob-unknown/", "/nowhere/", "/t/elsewhere/"):
        page = client.get(address)
        assert page.status_code == 404
        assert "The URL is wrong, the object was deleted" in page.content.decode()


def test_a_form_opened_before_signing_in_is_explained(db: None) -> None:
    page = Client(enforce_csrf_checks=True).post("/accounts/login/", {})
    assert page.status_code == 403
    assert "This form is out of date" in page.content.decode()


def test_the_error_page_works_without_the_database() -> None:
    request = RequestFactory().get("/")
    assert "Something went wrong" in server_error(request).content.decode()
    assert "This request cannot be read" in bad_request(request, ValueError()).content.decode()
