"""A team moves to another team through this server's own API."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from django.test import Client
from openai import OpenAI
from pytest_django.live_server_helper import LiveServer

from tests.api.conftest import make_secret
from tests.api.forms import write_rows
from webapp.datasets.models import DatasetVersion
from webapp.graders.models import GraderVersion
from webapp.registry.services import ensure_starter_model
from webapp.remote_imports.models import RemoteImport
from webapp.teams.models import Team, User
from workers.bridge.remote_imports import run_import

SignIn = Callable[[User], Client]
GRADER = {
    "type": "string_check", "name": "exact", "input": "{{sample.output_text}}",
    "reference": "{{item.label}}", "operation": "eq",
}  # fmt: skip


@pytest.mark.django_db(transaction=True)
def test_a_team_moves_to_another_team(
    live_server: LiveServer, team: Team, alice: User, charlie: User, as_user: SignIn
) -> None:
    base = ensure_starter_model()
    url, secret = f"{live_server.url}/v1".replace("localhost", "127.0.0.1"), make_secret(team, alice)
    old = OpenAI(api_key=secret, base_url=url)
    files = [
        old.files.create(file=(f"{name}.jsonl", write_rows(*rows)), purpose="fine-tune")
        for name, rows in (("train", (12,)), ("validation", (4, 100)), ("spare", (20, 200)))
    ]
    hyperparameters = {"batch_size": 4, "n_epochs": 2, "compute_multiplier": 0.5}
    method = {
        "type": "reinforcement",
        "reinforcement": {"grader": GRADER, "hyperparameters": hyperparameters},
    }
    job = old.fine_tuning.jobs.create(
        model=base.model_id, training_file=files[0].id, validation_file=files[1].id, suffix="demo", seed=5,
        method=method,  # type: ignore[arg-type]
    )  # fmt: skip

    client, new = as_user(charlie), charlie.teams.get()
    page = client.post(f"/t/{new.slug}/import/", {"base_url": url, "api_key": secret}).text
    ticket = re.findall(r'name="ticket" value="([^"]+)"', page)[0]
    chosen = {"ticket": ticket, "job": job.id, "file": files[2].id}
    client.post(f"/t/{new.slug}/import/start/", chosen)
    found = RemoteImport.objects.get()
    run_import(found.pk)
    found.refresh_from_db()
    assert [item.problem for item in found.report.items] == ["", ""], found.error

    moved = DatasetVersion.objects.filter(dataset__team=new)
    assert moved.count() == 2
    there = DatasetVersion.objects.get(dataset__team=team)
    assert moved.filter(sha256=there.sha256).exists(), "the same rows in the same splits"
    graders = GraderVersion.objects.values_list("grader__team", "sha256")
    assert {sha256 for _, sha256 in graders} == {graders[0][1]}
    page = client.get(found.get_absolute_url()).text
    launch = re.findall(r'href="([^"]+/jobs/new/[^"]+)"', page)[0].replace("&amp;", "&")
    form = client.get(launch).context["form"]
    settings = there.jobs.get().settings
    assert form.initial["base_model"] == base
    fields = ("grpo__prompts_per_step", "grpo__group_size", "grpo__epochs", "grpo__max_steps", "seed")
    assert [form[name].value() for name in fields] == [4, settings.grpo.group_size, 2, None, 5]
