"""Files of jobs with several tasks, or with a start: their splits joined, and the adapter's folder."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from webapp.jobs.models import Job, JobTask
from webapp.jobs.monitor.openings import find_openings
from webapp.jobs.services import parts_of
from workers.bridge.jobs import files
from workers.contract import adapter

START = "start"
ROW_BEGINS = b'{"row_id":"'


class AdapterDamaged(files.Damaged):
    """The adapter that training should continue from is not what was stored."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "Upload the adapter again, or start from another model.", "start_damaged")


def fetch_splits(job: Job, folder: Path) -> dict[str, Any]:
    """``contract.spec.DatasetFiles`` of the job, its files below ``folder``. Raises ``files.Damaged``.

    The splits of several tasks are joined: each row names its task, and its id begins with the task's name.
    """
    tasks = [part for part in parts_of(job) if isinstance(part, JobTask)]
    if not tasks:
        version = job.dataset_version
        return {
            "sha256": version.sha256,
            "test_opened": _opening_date(job),
            **files.fetch_dataset(version, folder),
        }
    fetched: dict[str, list[tuple[str, Path]]] = {"train": [], "validation": [], "test": []}
    for task in tasks:
        own = folder / f"task_{task.position}"
        own.mkdir()
        for split, file in files.fetch_dataset(task.dataset_version, own).items():
            if file:
                fetched[split].append((task.name, own / file["path"]))
    hashes = "\n".join(f"{task.name}\t{task.dataset_version.sha256}" for task in tasks)
    joined = {split: _join(parts, folder / f"{split}.jsonl") for split, parts in fetched.items()}
    sha256 = hashlib.sha256(hashes.encode()).hexdigest()
    return {"sha256": sha256, "test_opened": _opening_date(job), **joined}


def _opening_date(job: Job) -> str:
    """The day on which a test split was opened before the launch; empty if all were sealed."""
    dates = (each.version.test_opened_at for each in find_openings([job]) if each.before_launch)
    return next((opened.date().isoformat() for opened in dates if opened), "")


def _join(parts: list[tuple[str, Path]], target: Path) -> dict[str, Any] | None:
    """Writes all rows, task after task. Returns their ``contract.spec.DataFile``; ``None`` without rows."""
    rows = 0
    with target.open("wb") as joined:
        for name, path in parts:
            begins = b'{"task":"%b","row_id":"%b/' % (name.encode(), name.encode())
            with path.open("rb") as lines:
                for line in lines:
                    assert line.startswith(ROW_BEGINS), f"{path.name} has a row without its id in front"
                    joined.write(begins + line[len(ROW_BEGINS) :])
                    rows += 1
    if not rows:
        return None
    return {"path": target.name, "sha256": files.sha256_of(target), "rows": rows}


def fetch_start(job: Job, folder: Path) -> dict[str, Any] | None:
    """The job's ``contract.spec.AdapterRef``, its files below ``folder``. Raises ``AdapterDamaged``."""
    if job.start is None:
        return None
    hashes = {file["name"]: file["sha256"] for file in job.start.files}
    for name in (adapter.CONFIG, adapter.WEIGHTS):
        if not files.fetch(f"{job.start.prefix}/{name}", hashes[name], folder / START / name):
            raise AdapterDamaged(f"The SHA-256 of the stored {name} of {job.start} is not what it was.")
    return {"id": job.start.name, "path": START, "sha256": hashes[adapter.WEIGHTS]}


def task_specs(job: Job) -> dict[str, Any]:
    """``JobSpec.tasks`` of the job; empty for one without tasks."""
    return {
        task.name: {
            "grader": task.grader_version.parsed.model_dump(mode="json"),
            "grader_sha256": task.grader_version.sha256,
            "weight": task.weight,
        }
        for task in parts_of(job)
        if isinstance(task, JobTask)
    }
