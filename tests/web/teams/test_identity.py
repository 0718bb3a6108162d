"""Addresses are confirmed, invitations name a person, and no page reveals who has an account."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.core import mail
from django.test import Client

from tests.conftest import PASSWORD
from webapp.config import env
from webapp.teams.models import Invitation, Membership, Role, Team, User
from webapp.teams.services import accept_invitation, create_invitation

SignIn = Callable[[User], Client]


@pytest.fixture
def confirmed(settings: Any) -> None:
    """A site that sends e-mail and therefore confirms addresses."""
    settings.ACCOUNT_EMAIL_VERIFICATION = "mandatory"
    settings.MAIL_URL = "smtp://mail.example.com"
    settings.ACCOUNT_RATE_LIMITS = False


def confirm(user: User) -> User:
    EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    return user


def link_in_mail() -> str:
    found = re.search(r"http://testserver(/accounts/\S+)", str(mail.outbox[-1].body))
    assert found
    return found[1]


def signed_in(email: str) -> Client:
    client = Client()
    client.post("/accounts/login/", {"login": email, "password": PASSWORD})
    client.post("/accounts/reauthenticate/", {"password": PASSWORD})
    return client


def test_an_address_changes_only_after_the_password_and_by_the_link_in_the_mail(
    confirmed: None, alice: User
) -> None:
    confirm(alice)
    client, new = Client(), {"email": "new@example.com", "action_add": ""}
    client.force_login(alice)
    response = client.post("/accounts/email/", new)
    assert "/reauthenticate/" in response.headers["Location"]
    assert not EmailAddress.objects.filter(email="new@example.com").exists()
    client = signed_in(alice.email)
    client.post("/accounts/email/", new)
    alice.refresh_from_db()
    assert alice.email == "alice@example.com"
    assert mail.outbox[-1].to == ["new@example.com"]
    client.post(link_in_mail())
    alice.refresh_from_db()
    assert alice.email == "new@example.com"


def test_an_unconfirmed_address_never_replaces_the_current_one(alice: User) -> None:
    """This holds also on a site without mail, which confirms no addresses."""
    client = signed_in(alice.email)
    for action in ("action_add", "action_primary", "action_remove"):
        client.post("/accounts/email/", {"email": "boss@example.com", action: ""})
        client.post("/accounts/email/", {"email": alice.email, action: ""})
    alice.refresh_from_db()
    assert alice.email == "alice@example.com"


def test_the_current_address_cannot_be_removed(confirmed: None, alice: User) -> None:
    client = signed_in(confirm(alice).email)
    client.post("/accounts/email/", {"email": "new@example.com", "action_add": ""})
    for action in ("action_primary", "action_remove"):
        for email in ("new@example.com", alice.email):
            client.post("/accounts/email/", {"email": email, action: ""})
    alice.refresh_from_db()
    assert alice.email == "alice@example.com"


def test_an_address_of_somebody_else_cannot_be_taken(confirmed: None, alice: User, charlie: User) -> None:
    confirm(charlie)
    client = signed_in(charlie.email)
    taken = client.post("/accounts/email/", {"email": alice.email, "action_add": ""}, follow=True)
    free = client.post("/accounts/email/", {"email": "free@example.com", "action_add": ""}, follow=True)
    assert (taken.status_code, taken.redirect_chain) == (free.status_code, free.redirect_chain)
    client.post("/accounts/email/", {"email": alice.email, "action_add": ""})
    for message in mail.outbox:
        for link in re.findall(r"http://testserver(/accounts/confirm-email/\S+)", str(message.body)):
            assert client.post(link).status_code < 500
    charlie.refresh_from_db()
    assert charlie.email != alice.email
    assert User.objects.get(pk=alice.pk).email == "alice@example.com"


def test_sign_up_reset_and_sign_in_do_not_reveal_who_has_an_account(confirmed: None, alice: User) -> None:
    def seen(path: str, **data: str) -> tuple[Any, ...]:
        answer = Client().post(path, data, follow=True)
        text = re.sub(r'(value|content|nonce)="[^"]*"|"X-CSRFToken": "[^"]*"', "", answer.text)
        return answer.status_code, answer.redirect_chain, text.replace(data.get("email", "-"), "…")

    for path, fields in (
        ("/accounts/signup/", {"password1": "a long enough word"}),
        ("/accounts/password/reset/", {}),
    ):
        assert seen(path, email=alice.email, **fields) == seen(path, email="nobody@example.com", **fields)
    known = Client().post("/accounts/login/", {"login": alice.email, "password": "wrong"})
    unknown = Client().post("/accounts/login/", {"login": "nobody@example.com", "password": "wrong"})
    assert known.context["form"].errors == unknown.context["form"].errors


def test_sign_up_reveals_a_taken_address_on_a_site_without_confirmation(alice: User, client: Client) -> None:
    """``docs/security.md`` names this limit."""
    page = client.post("/accounts/signup/", {"email": alice.email, "password1": PASSWORD})
    assert "already registered" in page.text


def test_an_invitation_is_for_the_invited_address(
    team: Team, alice: User, charlie: User, as_user: SignIn
) -> None:
    invitation = create_invitation(team, alice, "Dora@example.com", Role.VIEWER)
    page = as_user(charlie).get(invitation.get_absolute_url())
    assert "works only for an account" in page.text
    as_user(charlie).post(invitation.get_absolute_url())
    assert not team.memberships.filter(user=charlie).exists()
    assert Invitation.objects.get().accepted_at is None
    dora = User.objects.create_user("dora@example.com", PASSWORD)
    as_user(dora).post(invitation.get_absolute_url())
    assert team.memberships.get(user=dora).role == Role.VIEWER


def test_an_unconfirmed_account_joins_no_team(confirmed: None, team: Team, alice: User) -> None:
    dora = User.objects.create_user("dora@example.com", PASSWORD)
    assert accept_invitation(create_invitation(team, alice, "dora@example.com", Role.EDITOR), dora) is None
    assert accept_invitation(create_invitation(team, alice, "", Role.EDITOR), dora) is None
    confirm(dora)
    assert accept_invitation(Invitation.objects.filter(email="").get(), dora) == team


def test_the_invited_join_once_their_address_is_confirmed(
    confirmed: None, team: Team, alice: User, client: Client
) -> None:
    client.get(create_invitation(team, alice, "dora@example.com", Role.EDITOR).get_absolute_url())
    client.post("/accounts/signup/", {"email": "dora@example.com", "password1": PASSWORD})
    assert not Membership.objects.filter(user__email="dora@example.com").exists()
    client.post(link_in_mail())
    client.post("/accounts/login/", {"login": "dora@example.com", "password": PASSWORD})
    assert Membership.objects.get(user__email="dora@example.com").team == team


def test_an_invitation_opens_a_closed_site_for_its_address_only(
    team: Team, alice: User, client: Client, settings: Any
) -> None:
    settings.SIGNUP_OPEN = False
    client.get(create_invitation(team, alice, "dora@example.com", Role.EDITOR).get_absolute_url())
    answer = client.post("/accounts/signup/", {"email": "eve@example.com", "password1": PASSWORD})
    assert "Sign up with the address that was invited" in answer.text
    client.post("/accounts/signup/", {"email": "dora@example.com", "password1": PASSWORD})
    assert team.memberships.filter(user__email="dora@example.com").exists()


def test_an_open_link_is_for_lower_roles_only(
    team: Team, alice: User, charlie: User, as_user: SignIn
) -> None:
    client, members = as_user(alice), f"/t/{team.slug}/members/"
    assert client.post(members, {"email": "", "role": "owner"}).status_code == 422
    client.post(members, {"email": "", "role": "viewer"})
    client.post(members, {"email": "", "role": "editor"})
    first, second = Invitation.objects.order_by("id")
    as_user(charlie).post(first.get_absolute_url())
    assert team.memberships.get(user=charlie).role == Role.VIEWER
    assert accept_invitation(second, charlie) == team  # a present member's role stays
    with pytest.raises(ValueError, match="needs an e-mail address"):
        create_invitation(team, alice, "", Role.OWNER)


def test_production_without_a_mail_server_logs_no_secret_link() -> None:
    assert "dummy" in str(env.mail("", log=False)["EMAIL_BACKEND"])
    assert "console" in str(env.mail("")["EMAIL_BACKEND"])
