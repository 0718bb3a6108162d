"""Checkpoints that are complete or absent: a manifest with every file's hash is written last."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from workers.contract.spec import JobSpec
from workers.engine import errors

MANIFEST = "manifest.json"
NOT_TRAINING = {
    "job_id", "model_name", "labels", "resources", "evaluation", "judges", "suites", "preflight", "alarm",
    "promoted_from",
}  # fmt: skip


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint: adapter, optimizer, scheduler and random states after ``step`` steps."""

    path: Path
    step: int
    train_seconds: float


def fingerprint(spec: JobSpec) -> str:
    """Return a hash of all settings that influence training, independent of the paths of files.

    Fields with their default are left out, so that a field of a later version changes no hash.
    """
    values = spec.model_dump(mode="json", exclude=NOT_TRAINING, exclude_defaults=True)
    values["base_model"].pop("path", None)  # absent for a model of the hub
    values["initial_adapter"] = spec.initial_adapter and spec.initial_adapter.sha256
    for file in [*values["dataset"].values(), (values.get("sft") or {}).get("rows")]:
        if isinstance(file, dict):
            file.pop("path")
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def seal(written: Path, final: Path, step: int, train_seconds: float, spec_sha256: str) -> None:
    """Add the manifest to the folder ``written`` and move it to ``final``, which it replaces."""
    files = {
        str(path.relative_to(written)): sha256_of(path)
        for path in sorted(written.rglob("*"))
        if path.is_file()
    }
    manifest = {"step": step, "train_seconds": train_seconds, "spec_sha256": spec_sha256, "files": files}
    with (written / MANIFEST).open("w") as stream:
        json.dump(manifest, stream, indent=1)
        stream.flush()
        os.fsync(stream.fileno())
    if final.exists():
        shutil.rmtree(final)
    final.parent.mkdir(parents=True, exist_ok=True)
    written.rename(final)


def open_checkpoint(path: Path, spec_sha256: str) -> Checkpoint:
    """Check every file against the manifest. Raises ``EngineError`` if one is damaged, missing or foreign."""
    try:
        manifest = json.loads((path / MANIFEST).read_text())
        files, owner = dict(manifest["files"]), manifest["spec_sha256"]
        found = Checkpoint(path, int(manifest["step"]), float(manifest["train_seconds"]))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise errors.checkpoint_damaged(path, f"its {MANIFEST} is missing or unreadable") from error
    for name, expected in files.items():
        if not (path / name).is_file() or sha256_of(path / name) != expected:
            raise errors.checkpoint_damaged(path, f"{name} is missing or changed")
    if owner != spec_sha256:
        raise errors.checkpoint_of_other_job(path)
    return found
