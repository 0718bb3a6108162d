"""Files between storage and an attempt's folder, all checked by their hashes."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import tarfile
import time
import uuid
from pathlib import Path

from django.conf import settings
from django.core.files import File
from django.core.files.storage import default_storage

from webapp.datasets.models import DatasetVersion
from webapp.jobs.models import Job
from webapp.jobs.states import State
from webapp.registry.models import BaseModel, StoredFile
from webapp.work.errors import WorkFailed
from workers.contract.spec import BaseModelRef, DataFile

log = logging.getLogger(__name__)
CACHE = "cache"
CACHE_SECONDS = 7 * 24 * 3600
CHECKSUMS = "SHA256SUMS"
MANIFEST = "manifest.json"  # of a checkpoint
SCRATCH = (
    "exports", "inspections", "trials", "checks", "cards", "endpoint_checks", "imports", "model_servers",
)  # fmt: skip


class Damaged(WorkFailed):
    """A stored file has changed; trying again would not help."""

    def __init__(
        self, message: str, remedy: str = "Upload the dataset again.", code: str = "invalid_training_file"
    ) -> None:
        super().__init__(message, remedy, code=code)


class CheckpointGone(Damaged):
    """The checkpoint that should become a model is missing or has changed."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "Promote another checkpoint of the job.", "checkpoint_missing")


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch(key: str, sha256: str, target: Path) -> bool:
    """Copy an object of storage to ``target``. Return False, without a file, if its hash differs."""
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    with default_storage.open(key, "rb") as source, draft.open("wb") as copy:
        shutil.copyfileobj(source, copy)
    if sha256_of(draft) != sha256:
        draft.unlink()
        return False
    draft.rename(target)
    return True


def store(path: Path, key: str) -> None:
    """Store a file under ``key``, replacing what an earlier attempt may have stored there."""
    default_storage.delete(key)
    with path.open("rb") as file:
        stored = default_storage.save(key, File(file))
    if stored != key:
        raise OSError(f"Storage saved {key} as {stored}: another process writes there.")


def fetch_dataset(version: DatasetVersion, folder: Path) -> dict[str, DataFile | None]:
    """Copy the splits to ``folder``; return them by name. Raises ``Damaged``."""
    return {split: fetch_split(version, split, folder / f"{split}.jsonl") for split in version.files}


def fetch_split(version: DatasetVersion, split: str, target: Path) -> DataFile | None:
    """Copy one split to ``target``; return ``None`` if it has no rows. Raises ``Damaged``."""
    file = version.files[split]
    if not file["rows"]:
        return None
    cached = settings.WORK_DIR / CACHE / f"{file['sha256']}.jsonl"
    if cached.exists() and sha256_of(cached) != file["sha256"]:
        cached.unlink()  # damaged by a power cut
    if not cached.exists() and not fetch(file["key"], file["sha256"], cached):
        raise Damaged(f"{version}: the SHA-256 of the stored {split} file has changed.")
    cached.touch()
    shutil.copyfile(cached, target)
    return DataFile(path=target.name, sha256=file["sha256"], rows=file["rows"])


def fetch_checkpoint(job: Job, folder: Path) -> tuple[Path | None, int]:
    """Unpack the newest undamaged checkpoint; return its folder and step, or (None, 0)."""
    for checkpoint in job.checkpoints.order_by("-step"):
        archive = folder / "checkpoint.tar"
        if not (default_storage.exists(checkpoint.key) and fetch(checkpoint.key, checkpoint.sha256, archive)):
            log.warning("Job %s: the checkpoint of step %s is damaged", job.uid, checkpoint.step)
        else:
            target = folder / "resume"
            with tarfile.open(archive) as tar:
                tar.extractall(target, filter="data")
            archive.unlink()
            return target, checkpoint.step
    return None, 0


def store_checkpoint(job: Job, folder: Path, step: int) -> tuple[str, int, str]:
    """Store a checkpoint folder as an archive. Return the archive's key, bytes and SHA-256."""
    archive = folder.parent / f"{folder.name}.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(folder, arcname=".")
    sha256, size = sha256_of(archive), archive.stat().st_size
    key = f"jobs/{job.uid}/checkpoints/attempt-{job.attempt}-step-{step}.tar"
    try:
        store(archive, key)
    except Exception:
        default_storage.delete(key)  # a part of it may be stored
        raise
    finally:
        archive.unlink()
    return key, size, sha256


def read_checkpoint_hash(folder: Path, name: str) -> str:
    """Return the SHA-256 of a checkpoint's file, from its manifest."""
    return str(json.loads((folder / MANIFEST).read_text())["files"][name])


def store_package(job: Job, package: Path) -> tuple[str, list[StoredFile]]:
    """Store the adapter's folder. Return its prefix and the list of its files.

    Raises OSError if a file does not match the package's own checksums.
    """
    lines = (package / CHECKSUMS).read_text().splitlines()
    expected = {name: sha256 for sha256, name in (line.split(maxsplit=1) for line in lines)}
    prefix = f"jobs/{job.uid}/adapter-{job.attempt}"
    stored: list[StoredFile] = []
    for path in sorted(file for file in package.rglob("*") if file.is_file()):
        name = path.relative_to(package).as_posix()
        sha256 = sha256_of(path)
        if name != CHECKSUMS and expected.get(name) != sha256:
            raise OSError(f"{name} of the package does not match its {CHECKSUMS}.")
        store(path, f"{prefix}/{name}")
        stored.append({"name": name, "bytes": path.stat().st_size, "sha256": sha256})
    return prefix, stored


def discard_leftovers() -> None:
    """Delete what killed workers left on this node: folders of ended attempts, and old data."""
    for folder in Path(settings.WORK_DIR).glob("ftjob-*/attempt_*"):
        number = int(folder.name.removeprefix("attempt_"))
        if not Job.objects.filter(uid=folder.parent.name, attempt=number, state=State.RUNNING).exists():
            shutil.rmtree(folder, ignore_errors=True)
    for kind in SCRATCH:
        for folder in (Path(settings.WORK_DIR) / kind).glob("*"):
            if time.time() - folder.stat().st_mtime > CACHE_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)
    for cached in (Path(settings.WORK_DIR) / CACHE).glob("*.jsonl"):
        if time.time() - cached.stat().st_mtime > CACHE_SECONDS:
            cached.unlink(missing_ok=True)


def local_ref(base: BaseModel) -> BaseModelRef:
    """Return the engine's reference to a base model; relative folders are below this node's checkout."""
    return base.ref().resolve(settings.BASE_DIR)
