"""A worker's part of an export: package from storage, engine in a child, checked files back to storage."""

from __future__ import annotations

import hashlib
import json
import uuid
from pathlib import Path

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from tests.workers.engine.test_exports import STARTER, tuned, unknown_split
from webapp.registry import exporting
from webapp.registry.models import Export, TunedModel
from webapp.registry.services import ensure_starter_model, register_model
from webapp.teams.models import Team, User
from workers.bridge import exports
from workers.bridge.exports import run_export

State = Export.State


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tuned(STARTER, tmp_path_factory.mktemp("starter") / "package")


@pytest.fixture
def model(package: Path, team: Team) -> TunedModel:
    files, prefix = [], f"jobs/{uuid.uuid4()}/adapter-1"
    for path in package.iterdir():
        default_storage.save(f"{prefix}/{path.name}", ContentFile(path.read_bytes()))
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        files.append({"name": path.name, "bytes": path.stat().st_size, "sha256": sha256})
    return register_model(team, ensure_starter_model(), "ft:starter", prefix, files)


def made(model: TunedModel, user: User, kind: str) -> Export:
    export = exporting.request_export(model, user, kind)
    run_export(export.pk)
    export.refresh_from_db()
    return export


@pytest.mark.parametrize(
    ("kind", "name"),
    [("merged", "model.safetensors"), ("gguf", "model.gguf"), ("gguf-adapter", "adapter.gguf")],
)
def test_what_a_worker_made_lies_in_storage_with_its_hashes(
    model: TunedModel, alice: User, kind: str, name: str
) -> None:
    export = made(model, alice, kind)
    assert (export.state, export.error) == (State.FINISHED, None)
    assert export.verification["difference"] < export.verification["tolerance"]
    kept = {
        file["name"]: default_storage.open(f"{export.prefix}/{file['name']}").read() for file in export.files
    }
    assert {name, "README.md", "SHA256SUMS"} <= kept.keys()
    for file in export.files:
        assert hashlib.sha256(kept[file["name"]]).hexdigest() == file["sha256"]


def test_a_damaged_package_is_not_exported(model: TunedModel, alice: User) -> None:
    default_storage.delete(f"{model.prefix}/adapter_config.json")
    default_storage.save(f"{model.prefix}/adapter_config.json", ContentFile(json.dumps({}).encode()))
    export = made(model, alice, "merged")
    assert export.state == State.FAILED
    assert "adapter_config.json of the adapter has changed" in export.error.message


def test_the_worker_refuses_what_the_web_could_not_know(
    model: TunedModel, alice: User, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(exporting, "find_refusals", lambda _: None)
    model.base_model.path = str(unknown_split(tmp_path / "unknown"))
    model.base_model.save()
    export = made(model, alice, "gguf")
    assert export.state == State.FAILED
    assert "llama.cpp has no name for" in export.error.message
    assert export.error.remedy == "Choose another kind of export."


def test_a_worker_that_lost_its_lease_leaves_nothing(
    model: TunedModel, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = exports._store

    def late(export: Export, folder: Path) -> None:
        Export.objects.update(attempt=export.attempt + 1)  # another worker claimed it
        store(export, folder)

    monkeypatch.setattr(exports, "_store", late)
    export = made(model, alice, "gguf-adapter")
    assert export.state == State.RUNNING
    assert not default_storage.exists(f"exports/{model.uid}/gguf-adapter-1/adapter.gguf")
