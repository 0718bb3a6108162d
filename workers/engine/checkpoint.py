"""Checkpoints that are whole or absent: a manifest with every file's hash is written last."""

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
    """A whole checkpoint: the adapter, optimizer, scheduler and random states after ``step`` steps."""

    path: Path
    step: int
    train_seconds: float


def fingerprint(spec: JobSpec) -> str:
    """A hash of all that decides the training's course, wherever the files lie.

    What stands at its default is left out, so that a field that a later version adds changes no hash.
    """
    values = spec.model_dump(mode="json", exclude=NOT_TRAINING, exclude_defaults=True)
    values["base_model"].pop("path")
    values["start"] = spec.start and spec.start.sha256
    for file in [*values["dataset"].values(), (values.get("sft") or {}).get("rows")]:
        if isinstance(file, dict):
            file.pop("path")
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def sha256_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def seal(written: Path, final: Path, step: int, train_seconds: float, spec_sha256: str) -> None:
    """Adds the manifest to the folder ``written`` and moves it to ``final``, replacing what was there."""
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
    """Checks every file against the manifest. Raises ``EngineError`` if one is torn, missing or foreign."""
    try:
        manifest = json.loads((path / MANIFEST).read_text())
        files, owner = dict(manifest["files"]), manifest["spec_sha256"]
        found = Checkpoint(path, int(manifest["step"]), float(manifest["train_seconds"]))
    except (OSError, ValueError, KeyError) as error:
        raise errors.checkpoint_damaged(path, f"its {MANIFEST} is missing or unreadable") from error
    for name, expected in files.items():
        if not (path / name).is_file() or sha256_of(path / name) != expected:
            raise errors.checkpoint_damaged(path, f"{name} is missing or changed")
    if owner != spec_sha256:
        raise errors.checkpoint_of_other_job(path)
    return found
