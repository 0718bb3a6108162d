"""Base models are removed while nothing was made with them; models say what they are for."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse

from tests.web.comparison import finished_job
from webapp.registry.models import BaseModel, TunedModel
from webapp.registry.services import add_base_model, ensure_starter_model
from webapp.teams.models import AuditEvent, Team, User

SignIn = Callable[[User], Client]


@pytest.fixture
def base(team: Team, alice: User) -> BaseModel:
    return add_base_model(team, alice, "acme/tpyo")


def remove(client: Client, team: Team, base: BaseModel) -> str:
    address = reverse("registry:remove_base", args=[team.slug, base.uid])
    return str(client.post(address, follow=True).text)


def test_a_mistyped_base_model_is_removed(team: Team, alice: User, base: BaseModel, as_user: SignIn) -> None:
    assert "Removed acme/tpyo" in remove(as_user(alice), team, base)
    assert not BaseModel.objects.filter(pk=base.pk).exists()
    assert AuditEvent.objects.filter(verb="removed base model", target="acme/tpyo").exists()


def test_a_base_model_that_jobs_need_stays(team: Team, alice: User, base: BaseModel, as_user: SignIn) -> None:
    job = finished_job(team, alice)
    job.base_model = base
    job.save()
    assert "acme/tpyo stays: jobs of the team were made with it." in remove(as_user(alice), team, base)
    assert BaseModel.objects.filter(pk=base.pk).exists()
    assert not AuditEvent.objects.filter(verb="removed base model").exists()


def test_the_starter_model_is_nobodys_to_remove(team: Team, alice: User, as_user: SignIn) -> None:
    starter = ensure_starter_model()
    address = reverse("registry:remove_base", args=[team.slug, starter.uid])
    assert as_user(alice).post(address).status_code == 404
    assert BaseModel.objects.filter(pk=starter.pk).exists()


def test_a_model_says_what_it_is_for(
    team: Team, alice: User, bob: User, base: BaseModel, as_user: SignIn
) -> None:
    model = TunedModel.objects.create(team=team, base_model=base, name="ft:x", prefix="p", files=[])
    address = reverse("registry:describe", args=[team.slug, model.uid])
    client = as_user(alice)
    client.post(address, {"description": " Invoices of\n<b>2026</b> "})
    listed = as_user(bob).get(reverse("registry:list", args=[team.slug])).text
    assert "Invoices of &lt;b&gt;2026&lt;/b&gt;" in listed
    assert "has 201 characters" in client.post(address, {"description": "x" * 201}, follow=True).text
    assert as_user(bob).post(address, {"description": "mine"}).status_code == 403
    assert TunedModel.objects.get().description == "Invoices of <b>2026</b>"
