"""Teams: a newcomer's first team, members and roles, invitations, the record."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from webapp.jobs.models import Job, Metric
from webapp.jobs.states import State
from webapp.registry.models import BaseModel
from webapp.teams.models import AuditEvent, Invitation, Membership, Role, Team, User
from webapp.teams.sample import create_sample_project
from webapp.teams.services import LastOwner, accept_invitation, change_role, invite, remove_member

SignIn = Callable[[User], Client]
SIGN_UP = {"email": "dora@example.com", "password1": "a long enough password"}


def membership(team: Team, user: User) -> Membership:
    return Membership.objects.get(team=team, user=user)


def test_a_newcomer_gets_a_team_with_the_sample_project(db: None, client: Client) -> None:
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


def test_sign_up_can_be_closed_but_not_to_the_invited(
    team: Team, alice: User, client: Client, settings: Any
) -> None:
    settings.SIGNUP_OPEN = False
    client.post("/accounts/signup/", SIGN_UP)
    assert not User.objects.filter(email="dora@example.com").exists()
    invitation = invite(team, alice, "dora@example.com", Role.EDITOR)
    client.get(invitation.get_absolute_url())
    client.post("/accounts/signup/", SIGN_UP)
    dora = User.objects.get(email="dora@example.com")
    assert list(dora.teams.all()) == [team]
    assert membership(team, dora).role == Role.EDITOR


def test_an_invitation_lets_one_person_in_once(
    team: Team, alice: User, charlie: User, as_user: SignIn
) -> None:
    invitation = invite(team, alice, "charlie@example.com", Role.VIEWER)
    page = as_user(charlie).get(invitation.get_absolute_url())
    assert "Join Acme" in page.content.decode()
    assert not Membership.objects.filter(team=team, user=charlie).exists()
    as_user(charlie).post(invitation.get_absolute_url())
    assert membership(team, charlie).role == Role.VIEWER
    assert as_user(charlie).get(invitation.get_absolute_url()).status_code == 404
    assert accept_invitation(invitation, User.objects.create_user("eve@example.com")) is None


def test_an_old_invitation_is_not_found(team: Team, alice: User, client: Client) -> None:
    invitation = invite(team, alice, "dora@example.com", Role.VIEWER)
    Invitation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert client.get(invitation.get_absolute_url()).status_code == 404


def test_accepting_an_invitation_never_lowers_a_role(team: Team, alice: User) -> None:
    accept_invitation(invite(team, alice, "alice@example.com", Role.VIEWER), alice)
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


def test_owners_invite_change_and_remove_and_all_is_recorded(
    team: Team, alice: User, bob: User, as_user: SignIn
) -> None:
    client, base = as_user(alice), f"/t/{team.slug}/members/"
    page = client.post(base, {"email": "dora@example.com", "role": "editor"}, follow=True)
    assert f"http://testserver{Invitation.objects.get().get_absolute_url()}" in page.content.decode()
    pk = membership(team, bob).pk
    client.post(f"{base}{pk}/role/", {"role": "editor"})
    assert membership(team, bob).role == Role.EDITOR
    client.post(f"{base}{pk}/remove/")
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
    invitation = invite(team, alice, "dora@example.com", Role.OWNER)
    assert invitation.token not in as_user(bob).get(f"/t/{team.slug}/members/").content.decode()


def test_home_names_the_next_step_and_the_checklist_can_be_hidden(
    team: Team, alice: User, as_user: SignIn
) -> None:
    client = as_user(alice)
    assert client.get(team.get_absolute_url()).context["next_step"].title == "Add a dataset"
    client.post(f"/t/{team.slug}/sample/")
    page = client.get(team.get_absolute_url())
    assert page.context["next_step"].title == "Launch a job"
    assert "First steps" in page.content.decode()
    client.post(f"/t/{team.slug}/checklist/")
    assert "Download the model" not in client.get(team.get_absolute_url()).content.decode()
    client.post(f"/t/{team.slug}/checklist/", {"show": "1"})
    assert "Download the model" in client.get(team.get_absolute_url()).content.decode()


def test_home_shows_what_runs_and_the_rewards_of_what_finished(
    team: Team, alice: User, as_user: SignIn, django_assert_max_num_queries: Any
) -> None:
    dataset, grader = create_sample_project(team, alice)
    common = {
        "team": team,
        "base_model": BaseModel.objects.create(model_id="tiny"),
        "dataset_version": dataset.versions.get(),
        "grader_version": grader.versions.get(),
        "settings": {},
    }
    Job.objects.create(name="Now running", state=State.RUNNING, step=3, total_steps=10, **common)
    done = Job.objects.create(name="Done", state=State.SUCCEEDED, finished_at=timezone.now(), **common)
    Metric.objects.bulk_create(
        [Metric(job=done, step=step, values={"reward": step / 200}) for step in range(1, 201)]
    )
    client = as_user(alice)
    with django_assert_max_num_queries(15):
        page = client.get(team.get_absolute_url())
    assert "Now running" in page.content.decode()
    (result,) = page.context["results"]
    assert 40 <= len(result.rewards) <= 80
    assert result.rewards == sorted(result.rewards)


def test_teams_of_one_name_get_different_addresses(alice: User, as_user: SignIn) -> None:
    client = as_user(alice)
    first, second = (client.post("/teams/new/", {"name": "New"})["Location"] for _ in range(2))
    assert first != second
    assert "/t/new/" not in (first, second)
