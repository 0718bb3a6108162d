"""Makes an export: the package from storage, the engine in a child, the checked files back to storage."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

from django.core.files.storage import default_storage

from webapp.registry.models import Export
from webapp.registry.queues import EXPORTS, claim_export
from webapp.work.errors import WorkFailed
from workers.bridge import nodes
from workers.bridge.jobs import files
from workers.bridge.running import run_claimed, run_engine
from workers.contract.base_models.arguments import write_arguments

MOST_SECONDS = 3600
SLOW = "Use a faster worker."
Json = dict[str, Any]


def run_export(export_id: int) -> None:
    """Make a queued export if this node has room; one that waits for room is tried again."""
    if export := claim_export(export_id, nodes.node_name()):
        run_claimed(EXPORTS, export, _make_export)


def _make_export(export: Export, folder: Path, lost: threading.Event) -> None:
    _fetch_package(export, folder / "package")
    _run_engine(export, folder, lost)
    _keep(export, folder)


def _fetch_package(export: Export, folder: Path) -> None:
    for file in export.model.files:
        if not files.fetch(f"{export.model.prefix}/{file['name']}", file["sha256"], folder / file["name"]):
            raise WorkFailed(
                f"The stored file {file['name']} of the adapter is not what it was: its SHA-256 differs.",
                "Restore the storage from a backup, or train the model again.",
            )


def _run_engine(export: Export, folder: Path, lost: threading.Event) -> None:
    base, out = files.local_ref(export.model.base_model), folder / "out"
    arguments = ["export", str(folder / "package"), *write_arguments(base)]
    out.mkdir()
    run_engine([*arguments, "--kind", export.kind, "--out", str(out)], out, MOST_SECONDS, lost, SLOW)


def _keep(export: Export, folder: Path) -> None:
    """Stores the files; what a worker stored that had lost its lease leaves again."""
    prefix = f"exports/{export.model.uid}/{export.kind}-{export.attempt}"
    listed: list[Json] = []
    for path in sorted((folder / "out/export").iterdir()):
        files.put(path, f"{prefix}/{path.name}")
        listed.append({"name": path.name, "bytes": path.stat().st_size, "sha256": files.sha256_of(path)})
    verification = json.loads((folder / "out/export.json").read_text())["verification"]
    if not EXPORTS.finish(export, prefix=prefix, files=listed, verification=verification):
        for file in listed:
            default_storage.delete(f"{prefix}/{file['name']}")
