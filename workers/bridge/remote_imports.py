"""Imports from another service with OpenAI's API: takes over the chosen files and jobs, one by one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from webapp.remote_imports import keys
from webapp.remote_imports.importing import Importer
from webapp.remote_imports.models import ImportedItem, ImportReport, RemoteImport
from webapp.remote_imports.services import KEY_GONE, REMOTE_IMPORTS
from webapp.work.errors import WorkFailed
from workers.bridge.running import run_item


def run_import(import_id: int) -> None:
    """Run one queued import. The service's key is deleted when it ends."""
    run_item(REMOTE_IMPORTS, import_id, _run_import)


def _run_import(found: RemoteImport, _folder: Path, _lost: threading.Event) -> None:
    remote = keys.find_remote(found.team, found.ticket)
    if remote is None:
        raise WorkFailed(KEY_GONE, "What was imported before stays.")
    importer = Importer(found.team, found.created_by, remote)
    done = list(found.report.items)  # of an earlier attempt whose worker died
    for work in list(_list_work(importer, found))[len(done) :]:
        done.append(work())
        REMOTE_IMPORTS.renew(found, report=ImportReport(items=done))
    REMOTE_IMPORTS.finish(found)
    keys.delete(found.team, found.ticket)


def _list_work(importer: Importer, found: RemoteImport) -> Iterator[Callable[[], ImportedItem]]:
    for file in found.files:
        yield partial(importer.import_file, file)
    for job in found.jobs:
        yield partial(importer.import_job, job)
