"""Two people act at once: a team keeps an owner, a link admits one person, and roles are ordered."""

from __future__ import annotations

import pytest
from django.core.exceptions import PermissionDenied
from django.http import Http404

from tests.web.concurrency import run_at_once
from webapp.teams.access import Access, find_access
from webapp.teams.models import AuditEvent, Invitation, Membership, Role, Team, User
from webapp.teams.services import (
    LastOwner,
    accept_invitation,
    change_role,
    create_invitation,
    create_team,
    find_open_invitations,
    remove_member,
    revoke_invitation,
)


@pytest.mark.django_db(transaction=True)
def test_of_two_owners_who_leave_at_once_one_stays(team: Team, alice: User, bob: User) -> None:
    Membership.objects.filter(team=team).update(role=Role.OWNER)
    own = {user: Membership.objects.get(team=team, user=user) for user in (alice, bob)}
    results = run_at_once(
        lambda: remove_member(own[alice], alice), lambda: change_role(own[bob], bob, Role.VIEWER)
    )
    assert sum(isinstance(result, LastOwner) for result in results) == 1
    assert team.memberships.filter(role=Role.OWNER).count() == 1


@pytest.mark.django_db(transaction=True)
def test_of_two_people_who_open_a_link_at_once_one_joins(team: Team, alice: User) -> None:
    invitation = create_invitation(team, alice, "", Role.EDITOR)
    people = [User.objects.create_user(f"guest{n}@example.com", "a long password") for n in range(2)]
    results = run_at_once(*(lambda user=user: accept_invitation(invitation, user) for user in people))
    assert sorted(map(str, results)) == ["Acme", "None"]
    assert team.members.filter(email__startswith="guest").count() == 1


# --- roles -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "allowed"),
    [
        (Role.VIEWER, {Role.VIEWER}),
        (Role.EDITOR, {Role.VIEWER, Role.EDITOR}),
        (Role.OWNER, {Role.VIEWER, Role.EDITOR, Role.OWNER}),
    ],
)
def test_a_role_includes_those_below_it(role: Role, allowed: set[Role]) -> None:
    access = Access(Team(name="Acme"), role, User(email="x@example.com"))
    assert {each for each in Role if access.may(each)} == allowed
    for each in set(Role) - allowed:
        with pytest.raises(PermissionDenied, match=f"role of {each} in Acme"):
            access.require(each)


def test_a_member_sees_their_own_teams_by_name_and_no_other(team: Team, bob: User, charlie: User) -> None:
    second = create_team(bob, "Aardvark")
    access = find_access(bob, team.slug)
    assert (access.role, [each.name for each in access.teams]) == (Role.VIEWER, ["Aardvark", "Acme"])
    assert find_access(bob, second.slug).can_own
    with pytest.raises(Http404):
        find_access(charlie, team.slug)
    Membership.objects.filter(user=bob, team=team).delete()
    with pytest.raises(Http404):
        find_access(bob, team.slug)


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Research & Development", "research-development"),
        ("Équipe de nuit", "equipe-de-nuit"),
        ("研究", "team"),
        ("x" * 80, "x" * 40),
    ],
)
def test_a_team_has_a_readable_address(alice: User, name: str, slug: str) -> None:
    assert create_team(alice, name).slug == slug


@pytest.mark.parametrize("name", ["New", "研究", "Acme"])
def test_an_address_that_is_taken_or_reserved_gets_an_ending(team: Team, alice: User, name: str) -> None:
    first, second = create_team(alice, name), create_team(alice, name)
    assert first.slug != second.slug
    assert {first.slug, second.slug}.isdisjoint({"new", team.slug})
    assert second.slug.startswith(("new-", "team-", "acme-"))


# --- invitations -------------------------------------------------------------------------------------


def test_a_second_invitation_of_an_address_replaces_the_first(team: Team, alice: User) -> None:
    first = create_invitation(team, alice, "Dora@example.com", Role.VIEWER)
    second = create_invitation(team, alice, "dora@EXAMPLE.com", Role.EDITOR)
    assert list(find_open_invitations()) == [second]
    assert not Invitation.objects.filter(pk=first.pk).exists()
    create_invitation(team, alice, "", Role.VIEWER)
    create_invitation(team, alice, "", Role.VIEWER)
    assert find_open_invitations().count() == 3, "links for anyone replace nothing"


def test_a_link_without_an_address_makes_nobody_an_owner(team: Team, alice: User) -> None:
    with pytest.raises(ValueError, match="needs an e-mail address"):
        create_invitation(team, alice, "", Role.OWNER)
    assert not Invitation.objects.exists()


def test_a_revoked_link_admits_nobody(team: Team, alice: User, charlie: User) -> None:
    invitation = create_invitation(team, alice, "", Role.EDITOR)
    opened_earlier = Invitation.objects.get(pk=invitation.pk)
    revoke_invitation(invitation, alice)
    assert accept_invitation(opened_earlier, charlie) is None
    assert not team.members.filter(pk=charlie.pk).exists()
    assert AuditEvent.objects.first().target == "anyone with the link"


def test_a_role_that_stays_the_same_is_not_recorded(team: Team, alice: User, bob: User) -> None:
    membership = Membership.objects.get(team=team, user=bob)
    change_role(membership, alice, Role.VIEWER)
    assert not AuditEvent.objects.filter(verb__startswith="made").exists()
    change_role(membership, alice, Role.EDITOR)
    assert AuditEvent.objects.first().verb == "made editor"
