"""Base models: inspection, and removal while nothing uses them; descriptions of models."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from tests.web.comparison import finished_job
from webapp.registry import inspections
from webapp.registry.forms import BaseModelForm
from webapp.registry.models import BaseModel, Inspection, TunedModel
from webapp.registry.queues import INSPECTIONS
from webapp.registry.services import add_base_model, ensure_starter_model
from webapp.teams.models import AuditEvent, Team, User
from webapp.work import nodes
from workers.contract.devices import Gpu, NodeDevices

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


@pytest.mark.parametrize(
    ("revision", "fault"),
    [("main", ""), ("refs/pr/3", ""), ("v1.0", ""), ("../../other", "A revision"), ("/srv/x", "A revision")],
)
def test_a_revision_leads_nowhere_but_into_its_model(team: Team, revision: str, fault: str) -> None:
    form = BaseModelForm({"model_id": "acme/base", "revision": revision}, team=team)
    form.is_valid()
    assert form.errors.get("revision", [""])[0][: len("A revision")] == fault


def test_a_base_model_that_jobs_need_stays(team: Team, alice: User, base: BaseModel, as_user: SignIn) -> None:
    job = finished_job(team, alice)
    job.base_model = base
    job.save()
    assert "acme/tpyo cannot be removed: jobs of the team use it." in remove(as_user(alice), team, base)
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
    address = reverse("catalog:describe", args=[team.slug, model.uid])
    client = as_user(alice)
    client.post(address, {"description": " Invoices of\n<b>2026</b> "})
    listed = as_user(bob).get(reverse("catalog:list", args=[team.slug])).text
    assert "Invoices of &lt;b&gt;2026&lt;/b&gt;" in listed
    assert "has 201 characters" in client.post(address, {"description": "x" * 201}, follow=True).text
    assert as_user(bob).post(address, {"description": "mine"}).status_code == 403
    assert TunedModel.objects.get().description == "Invoices of <b>2026</b>"


# --- inspection ------------------------------------------------------------------------------------

REPORT = {
    "problem": None,
    "facts": {
        "class": "Qwen3ForCausalLM", "parameters": 600_000_000, "weight_bytes": 1_200_000_000, "tied": True,
        "dtype": "bfloat16", "context": 40960, "chat_template": True, "system_role": True, "path": "fast",
        "targets": ["q_proj"],
    },
    "notes": ["This is a note.\x00"],
}  # fmt: skip


def page_of(base: BaseModel) -> str:
    assert base.team is not None
    return reverse("registry:base", args=[base.team.slug, base.uid])


def test_a_base_model_is_inspected_once_it_is_added(
    team: Team, alice: User, base: BaseModel, as_user: SignIn
) -> None:
    client = as_user(alice)
    waiting = client.get(page_of(base), headers={"HX-Request": "true"}).text
    assert "No worker is online" in waiting
    assert 'hx-trigger="every 2s"' in waiting
    inspection = INSPECTIONS.claim(base.inspection.pk)
    assert inspection is not None
    assert INSPECTIONS.claim(base.inspection.pk) is None
    assert "A worker is reading its files" in client.get(page_of(base)).text
    assert inspections.finish_inspection(inspection, REPORT)
    shown = client.get(page_of(base)).text
    assert "can be used" in shown
    assert "600,000,000, tied embeddings" in shown
    assert "2.24 GiB for the weights alone" in shown
    assert "This is a note." in shown
    assert "every 2s" not in shown
    assert "inspected" in client.get(reverse("registry:bases", args=[team.slug])).text


def test_a_problem_stands_on_the_page_and_is_inspected_again(
    team: Team, alice: User, base: BaseModel, as_user: SignIn
) -> None:
    inspection = INSPECTIONS.claim(base.inspection.pk)
    assert inspection is not None
    problem = {"code": "gguf_only", "message": "<b>GGUF only</b>", "remedy": "Choose the original."}
    inspections.finish_inspection(inspection, {"problem": problem, "facts": {}, "notes": []})
    client = as_user(alice)
    shown = client.get(page_of(base)).text
    assert "&lt;b&gt;GGUF only&lt;/b&gt;" in shown
    assert "Choose the original." in shown
    assert "cannot be used" in client.get(reverse("registry:bases", args=[team.slug])).text
    client.post(reverse("registry:inspect_base", args=[team.slug, base.uid]))
    assert Inspection.objects.get(base=base).state == Inspection.State.QUEUED
    assert not inspections.finish_inspection(inspection, REPORT), "the earlier attempt holds nothing"


def test_an_inspection_that_keeps_crashing_says_so_on_its_page(
    base: BaseModel, alice: User, as_user: SignIn
) -> None:
    for _ in range(settings.MAX_CRASHES + 1):
        assert INSPECTIONS.claim(base.inspection.pk)
        Inspection.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
        INSPECTIONS.requeue_silent()
    shown = as_user(alice).get(page_of(base)).text
    assert "Its worker stopped 4 times" in shown
    assert "Inspect it again." in shown


def test_the_page_tells_whether_the_weights_fit_the_workers(
    base: BaseModel, alice: User, as_user: SignIn
) -> None:
    devices = NodeDevices(cpu_cores=2, gpus=[Gpu(index=0, name="H", memory_gib=1.0)])
    nodes.register_node("n", {}, devices, {})
    nodes.record_health("n", {"memory_gib": 16.0})
    inspection = INSPECTIONS.claim(base.inspection.pk)
    assert inspection is not None
    inspections.finish_inspection(inspection, REPORT)
    shown = as_user(alice).get(page_of(base)).text
    assert "The largest worker online has 16.0 GiB." in shown
    assert "The largest worker online has only 1.0 GiB." in shown
