"""Teams: the first team of a new user, members and roles, invitations, audit trail."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from smtplib import SMTPServerDisconnected
from typing import Any

import pytest
from django.core import mail
from django.test import Client
from django.utils import timezone

from webapp.home.sample_project import create_sample_project
from webapp.teams.models import AuditEvent, Invitation, Membership, Role, Team, User
from webapp.teams.services import LastOwner, accept_invitation, change_role, create_invitation, remove_member

SignIn = Callable[[User], Client]
SIGN_UP = {"email": "dora@example.com", "password1": "a long enough password"}


def membership(team: Team, user: User) -> Membership:
    return Membership.objects.get(team=team, user=user)


def test_a_new_user_gets_a_team_with_the_sample_project(db: None, client: Client) -> None:
    page = client.post("/accounts/signup/", SIGN_UP, follow=True)
    team = Team.objects.get(members__email="dora@example.com")
    assert page.request["PATH_INFO"] == team.get_absolute_url()
    assert (team.name, membership(team, team.members.get()).role) == ("dora", Role.OWNER)
    version = team.datasets.get().versions.get()
    assert version.rows == 1200
    assert all(file["rows"] > 50 for file in version.files.values())
    assert all(each.versions.get().definition["type"] == "python" for each in team.graders.all())


def test_the_sample_project_is_added_once(team: Team, alice: User) -> None:
    assert create_sample_project(team, alice) == create_sample_project(team, alice)
    assert (team.datasets.count(), team.graders.count()) == (1, 2)


def test_closed_sign_up_still_admits_invited_people(
    team: Team, alice: User, client: Client, settings: Any
) -> None:
    settings.SIGNUP_OPEN = False
    client.post("/accounts/signup/", SIGN_UP)
    assert not User.objects.filter(email="dora@example.com").exists()
    invitation = create_invitation(team, alice, "dora@example.com", Role.EDITOR)
    client.get(invitation.get_absolute_url())
    client.post("/accounts/signup/", SIGN_UP)
    dora = User.objects.get(email="dora@example.com")
    assert list(dora.teams.all()) == [team]
    assert membership(team, dora).role == Role.EDITOR


def test_an_invitation_admits_one_person_once(
    team: Team, alice: User, charlie: User, as_user: SignIn
) -> None:
    invitation = create_invitation(team, alice, "charlie@example.com", Role.VIEWER)
    page = as_user(charlie).get(invitation.get_absolute_url())
    assert "Join Acme" in page.content.decode()
    assert not Membership.objects.filter(team=team, user=charlie).exists()
    as_user(charlie).post(invitation.get_absolute_url())
    assert membership(team, charlie).role == Role.VIEWER
    used = as_user(charlie).get(invitation.get_absolute_url())
    assert used.status_code == 404
    assert "This link no longer works" in used.text
    assert accept_invitation(invitation, User.objects.create_user("eve@example.com")) is None
    assert accept_invitation(invitation, charlie) is None


def test_an_invitation_names_whom_it_is_for(
    team: Team, alice: User, charlie: User, as_user: SignIn, client: Client
) -> None:
    invitation = create_invitation(team, alice, "dora@example.com", Role.VIEWER)
    link = invitation.get_absolute_url()
    assert "alice@example.com invited dora@example.com as viewer" in client.get(link).text
    assert (
        "works only for an account with the confirmed address dora@example.com"
        in as_user(charlie).get(link).text
    )


def test_a_member_who_opens_an_invitation_does_not_use_it_up(
    team: Team, alice: User, as_user: SignIn
) -> None:
    invitation = create_invitation(team, alice, "dora@example.com", Role.VIEWER)
    for answer in (as_user(alice).get, as_user(alice).post):
        assert "You are already in Acme" in answer(invitation.get_absolute_url()).text
    invitation.refresh_from_db()
    assert invitation.accepted_at is None


def test_an_invitation_is_mailed_if_the_site_has_a_mail_server(
    team: Team, alice: User, as_user: SignIn, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, base = as_user(alice), f"/t/{team.slug}/members/"
    values = {"email": "d@example.com", "role": "editor"}
    client.post(base, values)
    assert mail.outbox == []
    settings.MAIL_URL, settings.SITE_URL = "smtp://mail.example", "https://groove.example"
    assert "was sent to d@example.com" in client.post(base, values, follow=True).text
    (letter,) = mail.outbox
    assert (letter.to, letter.subject) == (["d@example.com"], "Invitation to Acme in Groove")
    assert f"https://groove.example{Invitation.objects.get().get_absolute_url()}\n" in letter.body

    def refuse(letter: object) -> None:
        raise SMTPServerDisconnected("please run connect() first")

    monkeypatch.setattr("django.core.mail.EmailMessage.send", refuse)
    page = client.post(base, values, follow=True).text
    assert "was not sent: please run connect() first" in page
    assert Invitation.objects.get().get_absolute_url() in page


def test_an_old_invitation_is_not_found(team: Team, alice: User, client: Client) -> None:
    invitation = create_invitation(team, alice, "dora@example.com", Role.VIEWER)
    Invitation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert client.get(invitation.get_absolute_url()).status_code == 404


def test_accepting_an_invitation_never_lowers_a_role(team: Team, alice: User) -> None:
    accept_invitation(create_invitation(team, alice, "alice@example.com", Role.VIEWER), alice)
    assert membership(team, alice).role == Role.OWNER


def test_the_last_owner_stays(team: Team, alice: User, bob: User, as_user: SignIn) -> None:
    with pytest.raises(LastOwner):
        remove_member(membership(team, alice), alice)
    with pytest.raises(LastOwner):
        change_role(membership(team, alice), alice, Role.EDITOR)
    base = f"/t/{team.slug}/members/{membership(team, alice).pk}/"
    page = as_user(alice).post(base + "remove/", follow=True)
    assert "needs an owner" in page.content.decode()
    change_role(membership(team, bob), alice, Role.OWNER)
    remove_member(membership(team, alice), alice)
    assert list(team.members.all()) == [bob]


def test_an_owner_confirms_before_giving_up_the_role(
    team: Team, alice: User, bob: User, as_user: SignIn
) -> None:
    client, own = as_user(alice), f"/t/{team.slug}/members/{membership(team, alice).pk}/role/"
    change_role(membership(team, bob), alice, Role.OWNER)
    assert "Become editor yourself?" in client.post(own, {"role": "editor"}).text
    assert membership(team, alice).role == Role.OWNER
    page = client.post(own, {"role": "editor", "sure": "1"}, follow=True)
    assert "You are now editor of Acme" in page.text
    assert membership(team, alice).role == Role.EDITOR


def test_owners_invite_change_and_remove_members_with_an_audit_trail(
    team: Team, alice: User, bob: User, as_user: SignIn
) -> None:
    client, base = as_user(alice), f"/t/{team.slug}/members/"
    page = client.post(base, {"email": "dora@example.com", "role": "editor"}, follow=True)
    assert f"http://testserver{Invitation.objects.get().get_absolute_url()}" in page.content.decode()
    pk = membership(team, bob).pk
    changed = client.post(f"{base}{pk}/role/", {"role": "editor"}, follow=True)
    assert "bob@example.com is now editor of Acme" in changed.text
    assert membership(team, bob).role == Role.EDITOR
    assert "bob@example.com was removed" in client.post(f"{base}{pk}/remove/", follow=True).text
    assert not Membership.objects.filter(pk=pk).exists()
    verbs = set(AuditEvent.objects.values_list("verb", flat=True))
    assert {"invited as editor", "made editor", "removed member"} <= verbs
    assert "removed member" in client.get(f"/t/{team.slug}/audit/").content.decode()


def test_a_member_may_leave_but_not_remove_others(
    team: Team, alice: User, bob: User, as_user: SignIn
) -> None:
    client, base = as_user(bob), f"/t/{team.slug}/members/"
    assert client.post(f"{base}{membership(team, alice).pk}/remove/").status_code == 403
    assert client.post(base, {"email": "x@example.com", "role": "owner"}).status_code == 403
    client.post(f"{base}{membership(team, bob).pk}/remove/")
    assert not Membership.objects.filter(team=team, user=bob).exists()


def test_invitation_links_are_for_owners(team: Team, alice: User, bob: User, as_user: SignIn) -> None:
    invitation = create_invitation(team, alice, "dora@example.com", Role.OWNER)
    assert invitation.token not in as_user(bob).get(f"/t/{team.slug}/members/").content.decode()


def test_teams_of_one_name_get_different_addresses(alice: User, as_user: SignIn) -> None:
    client = as_user(alice)
    first, second = (client.post("/teams/new/", {"name": "New"})["Location"] for _ in range(2))
    assert first != second
    assert "/t/new/" not in (first, second)
