"""Pages of an account work as forms, signed in or not."""

from __future__ import annotations

from typing import Any

import pytest
from django.core import mail
from django.test import Client

from webapp.teams.models import Role, Team, User
from webapp.teams.services import create_invitation


@pytest.mark.parametrize("name", ["login", "signup", "password/reset"])
def test_an_account_page_has_a_button_that_submits(db: None, client: Client, name: str) -> None:
    page = client.get(f"/accounts/{name}/").content.decode()
    assert "<button" in page.split("<form")[-1]


def test_a_forgotten_password_is_reset_by_mail(alice: User, client: Client) -> None:
    answer = client.post("/accounts/password/reset/", {"email": alice.email}, follow=True)
    assert answer.status_code == 200
    assert [message.to for message in mail.outbox] == [[alice.email]]


def test_a_reset_says_whether_a_mail_was_sent(alice: User, client: Client, settings: Any) -> None:
    def reset() -> str:
        answer = client.post("/accounts/password/reset/", {"email": alice.email}, follow=True)
        return answer.content.decode()

    settings.MAIL_URL = ""
    assert "This site sends no e-mail" in reset()
    assert "We sent you an e-mail" not in reset()
    settings.MAIL_URL = "smtp://mail.example.com"
    assert "We sent you an e-mail" in reset()
    assert "sends no e-mail" not in reset()


def test_no_page_links_to_sign_up_while_it_is_closed(db: None, client: Client, settings: Any) -> None:
    places = ("/", "/accounts/login/")
    assert all("/accounts/signup/" in client.get(place).content.decode() for place in places)
    settings.SIGNUP_OPEN = False
    assert not any("/accounts/signup/" in client.get(place).content.decode() for place in places)
    assert "You need an invitation" in client.get("/accounts/signup/").content.decode()


def test_sign_up_shows_which_team_an_invited_person_joins(team: Team, alice: User, client: Client) -> None:
    assert "You get a team" in client.get("/accounts/signup/").content.decode()
    door = client.get(create_invitation(team, alice, "dora@example.com", Role.EDITOR).get_absolute_url())
    assert "/accounts/signup/?email=dora%40example.com" in door.content.decode()
    page = client.get("/accounts/signup/?email=dora%40example.com").content.decode()
    assert 'value="dora@example.com"' in page
    assert "You join Acme." in page
    assert "You get a team" not in page
