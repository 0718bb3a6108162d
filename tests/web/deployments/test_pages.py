"""The pages of deployments."""

from __future__ import annotations

from collections.abc import Callable

from django.test import Client

from tests.web.deployments.targets import first, second
from webapp.deployments import services
from webapp.registry.models import TunedModel
from webapp.retention import gate
from webapp.teams.models import Team, User

AsUser = Callable[[User], Client]


def test_a_model_is_deployed_from_its_page_and_rolled_back(team: Team, erin: User, as_user: AsUser) -> None:
    client, base = as_user(erin), f"/t/{team.slug}/deployments/"
    one, two = first(team), second(team)
    assert "No deployments yet" in client.get(base).content.decode()
    assert one.tuned_model is not None
    page = client.get(one.tuned_model.get_absolute_url()).content.decode()
    assert f"{base}new/?model=ft%3Astarter%3Aacme%3Aone%3Aaaaaaaaa" in page
    for target in (one, two):
        data = {"model": target.name, "name": "invoices"}
        answer = client.post(f"{base}new/", data, follow=True)
        assert f"{target.name} answers as “invoices”" in answer.content.decode()
    deployment = services.find_deployment(team, "invoices")
    assert deployment is not None
    url = deployment.get_absolute_url()
    data = {"from": deployment.stable.uid, "reason": "worse on totals"}
    page = client.post(f"{url}rollback/", data, follow=True).content.decode()
    assert "Version 1 answers" in page
    assert "worse on totals" in page
    assert "No earlier" not in page
    page = client.post(f"{url}promote/", {"version": deployment.stable.uid}, follow=True).content.decode()
    assert "Version 2 answers" in page
    assert one.name not in client.get(base).content.decode()
    assert two.name in client.get(base).content.decode()


def test_a_wrong_name_is_explained_beside_its_field(team: Team, erin: User, as_user: AsUser) -> None:
    target = first(team)
    data = {"model": target.name, "name": "My Model"}
    answer = as_user(erin).post(f"/t/{team.slug}/deployments/new/", data)
    assert answer.status_code == 422
    assert "name" in answer.context["form"].errors


def test_a_model_that_the_gate_holds_back_needs_a_reason(
    team: Team, erin: User, as_user: AsUser, monkeypatch: object
) -> None:
    target = first(team)
    held = gate.Gate(gate.HELD_BACK, [])
    monkeypatch.setattr(gate, "check_model", lambda model: held)  # type: ignore[attr-defined]
    client, url = as_user(erin), f"/t/{team.slug}/deployments/new/"
    data = {"model": target.name, "name": "invoices"}
    assert "reason" in client.post(url, data).context["form"].errors
    client.post(url, data | {"reason": "Legal approved it"})
    deployment = services.find_deployment(team, "invoices")
    assert deployment is not None
    assert deployment.promotions.get().reason == "Legal approved it"


def test_a_deployed_model_is_not_deleted_before_another_one_answers(
    team: Team, erin: User, as_user: AsUser
) -> None:
    one, two = first(team), second(team)
    services.deploy(team, erin, "invoices", one)
    client = as_user(erin)
    assert one.tuned_model is not None
    url = f"{one.tuned_model.get_absolute_url()}delete/"
    assert "answers as “invoices”" in client.post(url, follow=True).content.decode()
    assert TunedModel.objects.alive().filter(pk=one.tuned_model.pk).exists()
    services.deploy(team, erin, "invoices", two)
    client.post(url)
    assert not TunedModel.objects.alive().filter(pk=one.tuned_model.pk).exists()
