"""Makes an export: the package from storage, the engine in a child, the checked files back to storage."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files.storage import default_storage

from webapp.registry import exporting
from webapp.registry.models import Export
from workers.bridge import child, files, nodes
from workers.contract import events
from workers.contract.base_arguments import write_arguments

MOST_SECONDS = 3600
Json = dict[str, Any]
log = logging.getLogger(__name__)


class NotMade(Exception):
    """An export that failed; trying it again unchanged would fail again."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.message, self.remedy = message, remedy


def run_export(export_id: int) -> None:
    """Make a queued export if this node has room; beat rings again for one that waits."""
    export = exporting.take(export_id, nodes.node_name())
    if export is None:
        return
    folder = settings.WORK_DIR / "exports" / f"{export.pk}-{export.attempt}"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        _fetch_package(export, folder / "package")
        if _run_engine(export, folder):
            _keep(export, folder)
    except NotMade as error:
        exporting.fail(export, error.message, error.remedy)
    except Exception as error:  # the page must not wait for ever
        log.exception("%s failed", export)
        exporting.fail(export, f"{type(error).__name__}: {error}", "Try again.")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _fetch_package(export: Export, folder: Path) -> None:
    for file in export.model.files:
        if not files.fetch(f"{export.model.prefix}/{file['name']}", file["sha256"], folder / file["name"]):
            raise NotMade(
                f"The stored file {file['name']} of the adapter is not what it was: its SHA-256 differs.",
                "Restore the storage from a backup, or train the model again.",
            )


def _run_engine(export: Export, folder: Path) -> bool:
    """Whether the engine made it. False if the lease was lost meanwhile: another worker makes it then."""
    base, output = files.local_ref(export.model.base_model), folder / "child.log"
    arguments = ["workers.engine", "export", str(folder / "package"), *write_arguments(base)]
    arguments += ["--kind", export.kind, "--out", str(folder / "out")]
    with child.started(arguments, {"cpu_cores": 1}, output) as process:
        if not _waited(export, process):
            return False
    if process.returncode:
        raise _said_by_engine(folder) or NotMade(
            f"The export's process ended with {process.returncode}: {child.tail(output)[-800:]}",
            "Often it is memory: use a worker with more of it.",
        )
    return True


def _waited(export: Export, process: subprocess.Popen[bytes]) -> bool:
    """Renews the lease until the process ends. False if the lease was lost."""
    end = time.monotonic() + MOST_SECONDS
    while time.monotonic() < end:
        if not exporting.renew(export):
            return False
        try:
            process.wait(settings.LEASE_SECONDS / 3)
        except subprocess.TimeoutExpired:
            continue
        return True
    raise NotMade(f"It was not done within {MOST_SECONDS} s.", "Use a faster worker.")


def _said_by_engine(folder: Path) -> NotMade | None:
    for event, _ in events.follow(folder / "out/events.jsonl", 0):
        if isinstance(event, events.ErrorEvent):
            return NotMade(event.message, event.remedy)
    return None


def _keep(export: Export, folder: Path) -> None:
    """Stores the files; what a worker stored that had lost its lease leaves again."""
    prefix = f"exports/{export.model.uid}/{export.kind}-{export.attempt}"
    listed: list[Json] = []
    for path in sorted((folder / "out/export").iterdir()):
        if not exporting.renew(export):
            break
        files.put(path, f"{prefix}/{path.name}")
        listed.append({"name": path.name, "bytes": path.stat().st_size, "sha256": files.sha256_of(path)})
    verification = json.loads((folder / "out/export.json").read_text())["verification"]
    if not exporting.finish(export, prefix, listed, verification):
        for file in listed:
            default_storage.delete(f"{prefix}/{file['name']}")
