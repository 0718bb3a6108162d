"""Exports: fetches the package, runs the engine in a child, stores the checked files."""

from __future__ import annotations

import json
import threading
from pathlib import Path

from django.core.files.storage import default_storage

from webapp.registry.models import Export, StoredFile
from webapp.registry.queues import EXPORTS, claim_export
from webapp.work.errors import WorkFailed
from workers.bridge import nodes
from workers.bridge.jobs import files
from workers.bridge.running import run_claimed, run_engine
from workers.contract.base_models.arguments import write_arguments

MOST_SECONDS = 3600
SLOW = "Use a faster worker."


def run_export(export_id: int) -> None:
    """Make a queued export if this node has space; otherwise it stays queued."""
    if export := claim_export(export_id, nodes.node_name()):
        run_claimed(EXPORTS, export, _make_export)


def _make_export(export: Export, folder: Path, lost: threading.Event) -> None:
    _fetch_package(export, folder / "package")
    _run_engine(export, folder, lost)
    _store(export, folder)


def _fetch_package(export: Export, folder: Path) -> None:
    for file in export.model.files:
        if not files.fetch(f"{export.model.prefix}/{file['name']}", file["sha256"], folder / file["name"]):
            raise WorkFailed(
                f"The stored file {file['name']} of the adapter has changed: its SHA-256 differs.",
                "Restore the storage from a backup, or train the model again.",
            )


def _run_engine(export: Export, folder: Path, lost: threading.Event) -> None:
    base, out = files.local_ref(export.model.base_model), folder / "out"
    arguments = ["export", str(folder / "package"), *write_arguments(base)]
    out.mkdir()
    run_engine([*arguments, "--kind", export.kind, "--out", str(out)], out, MOST_SECONDS, lost, SLOW)


def _store(export: Export, folder: Path) -> None:
    """Store the files; delete them if the worker has lost its lease."""
    prefix = f"exports/{export.model.uid}/{export.kind}-{export.attempt}"
    stored: list[StoredFile] = []
    for path in sorted((folder / "out/export").iterdir()):
        files.store(path, f"{prefix}/{path.name}")
        stored.append({"name": path.name, "bytes": path.stat().st_size, "sha256": files.sha256_of(path)})
    verification = json.loads((folder / "out/export.json").read_text())["verification"]
    if not EXPORTS.finish(export, prefix=prefix, files=stored, verification=verification):
        for file in stored:
            default_storage.delete(f"{prefix}/{file['name']}")
