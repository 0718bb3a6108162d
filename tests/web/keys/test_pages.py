"""The page of API keys: a secret is shown once, members see their own keys, owners see all."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from webapp.keys.models import ApiKey, Scope
from webapp.keys.services import create_key
from webapp.teams.models import Team, User

SignIn = Callable[[User], Client]
SECRET = re.compile(r"sk-groove-\w{32}")
FORM = {"name": "Nightly", "scopes": ["read", "inference"], "lifetime": "30"}


def test_a_new_key_is_shown_once_with_code_and_stored_as_a_hash(
    team: Team, bob: User, as_user: SignIn
) -> None:
    client, url = as_user(bob), f"/t/{team.slug}/api-keys/"
    page = client.post(url, FORM)
    (secret,) = set(SECRET.findall(page.text))
    assert f'api_key="{secret}"' in page.context["examples"].sdk
    assert "http://testserver/v1/models" in page.context["examples"].curl
    assert page.headers["Cache-Control"] == "no-store"
    key = ApiKey.objects.get()
    assert (key.user, key.scopes, key.hint) == (bob, ["read", "inference"], secret[-4:])
    assert key.expires_at is not None
    assert timedelta(days=29) < key.expires_at - timezone.now() < timedelta(days=31)
    assert secret not in repr(ApiKey.objects.values().get())
    again = client.get(url).text
    assert not SECRET.search(again)
    assert f"…{secret[-4:]}" in again


def test_members_see_their_own_keys_and_owners_all(
    team: Team, alice: User, bob: User, as_user: SignIn
) -> None:
    create_key(team, alice, "Key of Alice", Scope)
    create_key(team, bob, "Key of Bob", Scope)
    create_key(team, alice, "Key of the team", Scope, personal=False)
    url = f"/t/{team.slug}/api-keys/"
    own, every = as_user(bob).get(url).text, as_user(alice).get(url).text
    assert [name in own for name in ("Key of Alice", "Key of Bob", "Key of the team")] == [False, True, False]
    assert all(name in every for name in ("Key of Alice", "Key of Bob", "Key of the team"))


def test_only_owners_create_service_keys(team: Team, alice: User, erin: User, as_user: SignIn) -> None:
    url = f"/t/{team.slug}/api-keys/"
    as_user(erin).post(url, FORM | {"kind": "service"})
    as_user(alice).post(url, FORM | {"kind": "service"})
    assert [key.user for key in ApiKey.objects.order_by("pk")] == [erin, None]


@pytest.mark.parametrize("fields", [{"name": ""}, {"scopes": []}, {"scopes": ["all"]}, {"lifetime": "9999"}])
def test_a_wrong_form_creates_no_key(
    team: Team, alice: User, as_user: SignIn, fields: dict[str, object]
) -> None:
    page = as_user(alice).post(f"/t/{team.slug}/api-keys/", FORM | {"kind": "personal"} | fields)
    assert page.status_code == 422
    assert not ApiKey.objects.exists()


def test_a_key_is_revoked_by_its_user_or_an_owner(
    team: Team, alice: User, bob: User, erin: User, as_user: SignIn
) -> None:
    key, _ = create_key(team, bob, "K", Scope)
    url = f"/t/{team.slug}/api-keys/{key.uid}/revoke/"
    assert as_user(erin).post(url).status_code == 403
    for user in (bob, alice):
        ApiKey.objects.update(revoked_at=None)
        assert "no longer works" in as_user(user).post(url, follow=True).text
        assert not ApiKey.objects.get().works
    assert "No API keys yet" in as_user(bob).get(f"/t/{team.slug}/api-keys/").text
