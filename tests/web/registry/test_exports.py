"""Exports on the web: offer or refusal before training, queue, lease, check, download."""

from __future__ import annotations

import html
import io
import json
import shutil
import zipfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from tests.web.comparison import address, body
from webapp.jobs.models import Job
from webapp.jobs.queue import claim_job
from webapp.registry import exporting, packages
from webapp.registry.models import BaseModel, Export, TunedModel
from webapp.registry.queues import EXPORTS, claim_export
from webapp.teams.models import User
from webapp.work import nodes
from webapp.work.errors import WorkFailed
from workers.contract.devices import NodeDevices
from workers.contract.exports import KINDS

SignIn = Callable[[User], Client]
State = Export.State
CHECKED = {"how": "loaded with transformers", "against": "base and adapter loaded by peft", "tensors": 46,
           "tokens": 72, "difference": 2.5e-6, "tolerance": 1e-3}  # fmt: skip


def ready(model: TunedModel, user: User, kind: str = "merged") -> Export:
    """An export as a worker leaves it."""
    export = EXPORTS.claim(exporting.request_export(model, user, kind).pk)
    assert export
    default_storage.save("exports/x/model.safetensors", ContentFile(b"weights"))
    files = [{"name": "model.safetensors", "bytes": 7, "sha256": "0"}]
    assert EXPORTS.finish(export, prefix="exports/x", files=files, verification=CHECKED)
    return export


def unknown_base(model: TunedModel, folder: Path) -> BaseModel:
    """The starter with a tokenizer that splits digits by fours, which llama.cpp cannot."""
    shutil.copytree(settings.BASE_DIR / model.base_model.path, folder)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["pre_tokenizer"]["pretokenizers"][0]["pattern"] = {"Regex": r"\d{1,4}"}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    return BaseModel.objects.create(team=model.team, model_id="an/unknown", path=str(folder))


def test_an_export_is_asked_for_made_and_downloaded(model: TunedModel, alice: User, as_user: SignIn) -> None:
    client = as_user(alice)
    assert "Not exported" in client.get(model.get_absolute_url()).text
    client.post(address(model, "export", "merged"))
    client.post(address(model, "export", "merged"))
    assert model.exports.get().state == State.QUEUED
    assert (
        "Waiting for a worker" in client.get(address(model, "exports"), headers={"HX-Request": "true"}).text
    )
    assert client.get(address(model, "export_archive", "merged")).status_code == 404
    ready(model, alice)
    page = client.get(model.get_absolute_url()).text
    assert "loaded with transformers; 46 tensors equal, and on 72 tokens" in page
    assert "2.5e-06" in page
    with zipfile.ZipFile(io.BytesIO(body(client.get(address(model, "export_archive", "merged"))))) as archive:
        assert [archive.read(name) for name in archive.namelist()] == [b"weights"]


def test_a_finished_export_says_how_it_is_served(model: TunedModel, alice: User, as_user: SignIn) -> None:
    """Each command names the archive's folder, and a button copies it."""
    for kind in KINDS:
        model.exports.create(kind=kind, state=Export.State.FINISHED)
    page = html.unescape(as_user(alice).get(model.get_absolute_url()).text)
    folder = packages.folder_name(model)
    for command in (
        f"vllm serve ./{folder}-merged --served-model-name {folder}",
        f"cd {folder}-gguf && llama-server -m model.gguf",
        f"cd {folder}-gguf && ollama create tuned -f Modelfile && ollama run tuned",
        f"cd {folder}-gguf-adapter && llama-server -m base.gguf --lora adapter.gguf",
    ):
        assert f'data-copy="{command}"' in page
    assert page.count("First put a GGUF of groove/starter into it, as base.gguf") == 1


def test_what_is_impossible_shows_its_reason_and_no_button(
    model: TunedModel, alice: User, as_user: SignIn, tmp_path: Path
) -> None:
    """A tokenizer that llama.cpp cannot follow: no GGUF of the base, so no GGUF adapter either."""
    model.base_model = unknown_base(model, tmp_path / "unknown")
    model.save()
    client = as_user(alice)
    page = client.get(model.get_absolute_url()).text
    assert "splits text in a way that llama.cpp has no name for" in page
    assert address(model, "export", "gguf") + '"' not in page
    assert address(model, "export", "gguf-adapter") + '"' not in page
    assert address(model, "export", "merged") + '"' in page
    answer = client.post(address(model, "export", "gguf"), follow=True)
    assert "llama.cpp has no name for" in str(next(iter(answer.context["messages"])))
    assert client.post(address(model, "export", "pickle")).status_code == 404
    assert not model.exports.exists()


def test_the_form_of_a_new_job_says_what_can_be_exported(
    model: TunedModel, alice: User, as_user: SignIn, tmp_path: Path
) -> None:
    unknown = unknown_base(model, tmp_path / "unknown")
    elsewhere = BaseModel.objects.create(team=model.team, model_id="an/elsewhere", path=str(tmp_path / "no"))
    client, url = as_user(alice), reverse("jobs:new", args=[model.team.slug])
    for base, said in (
        (unknown, "Merged GGUF: <span"),
        (unknown, "GGUF adapter: <span"),
        (model.base_model, "Merged GGUF: possible"),
        (elsewhere, "Merged GGUF: not known yet"),
    ):
        assert said in client.get(url, {"base": base.uid}).text


def test_a_model_from_the_hub_is_known_once_it_is_in_the_cache(
    model: TunedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = BaseModel.objects.create(team=model.team, model_id="org/name")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert exporting.build_forecast_context(base)["exports_known"] is False
    cached = tmp_path / "models--org--name"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs/main").write_text("abc")
    (cached / "snapshots/abc").mkdir(parents=True)
    config = {"architectures": ["MambaForCausalLM"], "model_type": "mamba"}
    (cached / "snapshots/abc/config.json").write_text(json.dumps(config))
    outlook = exporting.build_forecast_context(base)
    refused = {offer.kind.id for offer in outlook["export_offers"] if offer.refused}
    assert {"gguf", "gguf-adapter"} <= refused
    assert "merged" not in refused
    (cached / "snapshots/abc/config.json").write_text("[")
    assert exporting.build_forecast_context(base)["exports_known"] is False


def test_an_export_that_keeps_killing_its_worker_fails_and_can_be_asked_for_again(
    model: TunedModel, alice: User, as_user: SignIn
) -> None:
    queued = exporting.request_export(model, alice, "merged")
    for _ in range(settings.MAX_CRASHES + 1):
        assert EXPORTS.claim(queued.pk)
        Export.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
        EXPORTS.requeue_silent()
    assert EXPORTS.claim(queued.pk) is None
    client = as_user(alice)
    assert "Its worker stopped 4 times" in client.get(model.get_absolute_url()).text
    client.post(address(model, "export", "merged"))
    assert EXPORTS.claim(queued.pk)


def test_an_export_leaves_through_its_team_only(
    model: TunedModel, alice: User, bob: User, charlie: User, as_user: SignIn
) -> None:
    ready(model, alice)
    url = address(model, "export_archive", "merged")
    assert as_user(bob).get(url).status_code == 403
    assert as_user(charlie).get(url).status_code == 404
    TunedModel.objects.update(deleted_at=timezone.now())
    assert as_user(alice).get(url).status_code == 404


def test_an_export_waits_for_room_and_the_page_says_what_is_missing(
    model: TunedModel, alice: User, as_user: SignIn
) -> None:
    node = nodes.register_node("small", {}, NodeDevices(cpu_cores=1), {})
    queued = exporting.request_export(model, alice, "merged")
    other = exporting.request_export(model, alice, "gguf")
    Job.objects.update(state="running", node=node, devices={"cpu_cores": 1, "gpus": []})
    assert claim_export(queued.pk, "small") is None
    page = as_user(alice).get(model.get_absolute_url()).text
    assert "Waiting for room: Jobs use all CPU cores of small." in page
    Job.objects.update(state="succeeded")
    nodes.record_health("small", {"memory_free_gib": 0.5, "memory_gib": 8.0})
    assert claim_export(queued.pk, "small") is None
    assert "small has 0.5 GiB free" in model.exports.get(pk=queued.pk).shortage
    nodes.record_health("small", {"memory_free_gib": 6.0, "memory_gib": 8.0})
    taken = claim_export(queued.pk, "small")
    assert taken
    assert (taken.node, taken.shortage) == (node, "")
    assert claim_export(other.pk, "small") is None
    assert model.exports.get(pk=other.pk).shortage == "small is making another export."
    assert EXPORTS.finish(taken)
    assert claim_export(other.pk, "small")


def test_a_job_leaves_a_running_export_its_core(model: TunedModel, alice: User) -> None:
    nodes.register_node("small", {}, NodeDevices(cpu_cores=2), {})
    exports = [exporting.request_export(model, alice, kind) for kind in ("merged", "gguf")]
    resources = {"device": "cpu", "gpus": 0, "cpu_cores": 2, "gpu_memory_gib": 0}
    Job.objects.update(state="queued", settings={"resources": resources})
    running = claim_export(exports[0].pk, "small")
    assert running
    assert claim_job("small") is None
    EXPORTS.fail(running, WorkFailed("It failed."))
    assert claim_job("small") is not None
    assert claim_export(exports[1].pk, "small") is None
