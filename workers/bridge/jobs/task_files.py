"""Files of jobs with several tasks or an initial adapter: joined splits, and the adapter's folder."""

from __future__ import annotations

import hashlib
from pathlib import Path

from webapp.jobs.models import Job, JobTask
from webapp.jobs.monitor.openings import find_openings
from workers import grading
from workers.bridge.jobs import files
from workers.contract import adapter
from workers.contract.spec import AdapterRef, DataFile, DatasetFiles, Task

INITIAL_ADAPTER = "initial_adapter"
ROW_BEGINS = b'{"row_id":"'


class AdapterDamaged(files.Damaged):
    """The initial adapter is not the stored one any more."""

    def __init__(self, message: str) -> None:
        remedy = "Upload the adapter again, or start from another model."
        super().__init__(message, remedy, "initial_adapter_damaged")


def fetch_splits(job: Job, folder: Path) -> DatasetFiles:
    """Copy the job's splits to ``folder``. Raises ``files.Damaged``.

    The splits of several tasks are joined: each row names its task, and its id begins with the task's name.
    """
    tasks = [part for part in job.graded_parts if isinstance(part, JobTask)]
    if tasks:
        splits = _join_splits(tasks, folder)
        hashes = "\n".join(f"{task.name}\t{task.dataset_version.sha256}" for task in tasks)
        sha256 = hashlib.sha256(hashes.encode()).hexdigest()
    else:
        assert job.dataset_version, "a queued job has rows"
        splits = files.fetch_dataset(job.dataset_version, folder)
        sha256 = job.dataset_version.sha256
    return DatasetFiles.model_validate({"sha256": sha256, "test_opened": _find_opening_date(job), **splits})


def _find_opening_date(job: Job) -> str:
    """Return the day on which a test split was opened before the launch; empty if all were sealed."""
    dates = (each.version.test_opened_at for each in find_openings([job]) if each.before_launch)
    return next((opened.date().isoformat() for opened in dates if opened), "")


def _join_splits(tasks: list[JobTask], folder: Path) -> dict[str, DataFile | None]:
    fetched: dict[str, list[tuple[str, Path]]] = {"train": [], "validation": [], "test": []}
    for task in tasks:
        own = folder / f"task_{task.position}"
        own.mkdir()
        for split, file in files.fetch_dataset(task.dataset_version, own).items():
            if file:
                fetched[split].append((task.name, own / file.path))
    return {split: _join(parts, folder / f"{split}.jsonl") for split, parts in fetched.items()}


def _join(parts: list[tuple[str, Path]], target: Path) -> DataFile | None:
    """Write all rows, task by task; return ``None`` without rows."""
    rows = 0
    with target.open("wb") as joined:
        for name, path in parts:
            begins = b'{"task":"%b","row_id":"%b/' % (name.encode(), name.encode())
            with path.open("rb") as lines:
                for line in lines:
                    assert line.startswith(ROW_BEGINS), (
                        f"{path.name} has a row that does not begin with its id"
                    )
                    joined.write(begins + line[len(ROW_BEGINS) :])
                    rows += 1
    if not rows:
        return None
    return DataFile(path=target.name, sha256=files.sha256_of(target), rows=rows)


def fetch_initial_adapter(job: Job, folder: Path) -> AdapterRef | None:
    """Copy the files of the job's initial adapter to ``folder``. Raises ``AdapterDamaged``."""
    if job.initial_adapter is None:
        return None
    hashes = {file["name"]: file["sha256"] for file in job.initial_adapter.files}
    for name in (adapter.CONFIG, adapter.WEIGHTS):
        if not files.fetch(
            f"{job.initial_adapter.prefix}/{name}", hashes[name], folder / INITIAL_ADAPTER / name
        ):
            raise AdapterDamaged(f"The SHA-256 of the stored {name} of {job.initial_adapter} has changed.")
    return AdapterRef(id=job.initial_adapter.name, path=INITIAL_ADAPTER, sha256=hashes[adapter.WEIGHTS])


def build_task_specs(job: Job) -> dict[str, Task]:
    """Return ``JobSpec.tasks`` of the job; empty for one without tasks."""
    return {
        task.name: Task(
            grader=grading.validate(task.grader_version.definition),
            grader_sha256=task.grader_version.sha256,
            weight=task.weight,
            environment=task.environment_version.definition if task.environment_version else None,
        )
        for task in job.graded_parts
        if isinstance(task, JobTask)
    }
