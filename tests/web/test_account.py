"""Pages of an account work as forms, signed in or not."""

from __future__ import annotations

import pytest
from django.core import mail
from django.test import Client

from webapp.teams.models import User


@pytest.mark.parametrize("name", ["login", "signup", "password/reset"])
def test_an_account_page_has_a_button_that_submits(db: None, client: Client, name: str) -> None:
    page = client.get(f"/accounts/{name}/").content.decode()
    assert "<button" in page.split("<form")[-1]


def test_a_forgotten_password_is_reset_by_mail(alice: User, client: Client) -> None:
    answer = client.post("/accounts/password/reset/", {"email": alice.email}, follow=True)
    assert answer.status_code == 200
    assert [message.to for message in mail.outbox] == [[alice.email]]
