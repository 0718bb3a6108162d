"""Adapters from storage in a folder of this node, checked by the SHA-256 of their weights."""

from __future__ import annotations

import tarfile
from pathlib import Path

from webapp.jobs.models import Checkpoint
from webapp.registry.models import TunedModel
from webapp.serving.models import ServedAdapter
from webapp.work.errors import WorkFailed
from workers.bridge.jobs import files
from workers.contract.adapter import CONFIG, WEIGHTS

MANIFEST = "manifest.json"


class AdapterDamaged(WorkFailed):
    """The stored adapter is missing or differs from what was asked for."""

    def __init__(self, name: object) -> None:
        message = f"The stored adapter {name} is missing or has changed: its SHA-256 differs."
        super().__init__(message, "Restore the storage from a backup, or train the model again.")


def fetch_adapter(wanted: ServedAdapter, folder: Path) -> Path:
    """Return the adapter's folder, below ``folder`` by its hash. Raises ``AdapterDamaged``."""
    target = folder / wanted.sha256
    try:
        if wanted.tuned_model:
            _fetch_package(wanted.tuned_model, target)
        elif wanted.checkpoint:
            _unpack_checkpoint(wanted.checkpoint, target)
        if files.sha256_of(target / WEIGHTS) == wanted.sha256:
            return target
    except (OSError, KeyError, ValueError, tarfile.TarError) as error:
        raise AdapterDamaged(wanted.tuned_model or wanted.checkpoint) from error
    raise AdapterDamaged(wanted.tuned_model or wanted.checkpoint)


def _fetch_package(model: TunedModel, target: Path) -> None:
    hashes = {file["name"]: file["sha256"] for file in model.files}
    for name in (CONFIG, WEIGHTS):
        if not files.fetch(f"{model.prefix}/{name}", hashes[name], target / name):
            raise AdapterDamaged(model)


def _unpack_checkpoint(checkpoint: Checkpoint, target: Path) -> None:
    archive = target / "checkpoint.tar"
    if not files.fetch(checkpoint.key, checkpoint.sha256, archive):
        raise AdapterDamaged(checkpoint)
    with tarfile.open(archive) as tar:
        for name in (CONFIG, WEIGHTS):
            tar.extract(f"./{name}", target, filter="data")
    archive.unlink()
