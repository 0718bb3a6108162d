"""Downloads a file that a user named, and has it checked as an upload."""

from __future__ import annotations

import io
import json
import re
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from django.conf import settings

from webapp.datasets.models import DatasetImport
from webapp.datasets.uploads import imports
from webapp.datasets.uploads.imports import IMPORTS
from webapp.work.errors import WorkFailed
from workers.bridge.running import run_claimed
from workers.outbound import OutboundError, download

MOST_SECONDS = 3600
REDIRECTS = 5
LISTING_BYTES, LISTING_SECONDS = 2**20, 60
RENEW_SECONDS = 2
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[\w.-]{1,96})?", re.ASCII)


def run_import(import_id: int) -> None:
    """Download and check one queued import."""
    if found := IMPORTS.claim(import_id, received=0):
        run_claimed(IMPORTS, found, _run_import)


def _run_import(found: DatasetImport, _folder: Path, _lost: threading.Event) -> None:
    try:
        _import(found)
    except OutboundError as error:
        remedy = "Check the URL. If it is right, download the file and upload it here."
        raise WorkFailed(str(error), remedy) from error


def _import(found: DatasetImport) -> None:
    url = find_file(found.source)
    with tempfile.TemporaryFile(dir=settings.FILE_UPLOAD_TEMP_DIR) as file:
        got = download(
            url, file, max_bytes=settings.MAX_UPLOAD_BYTES, max_seconds=MOST_SECONDS, redirects=REDIRECTS,
            on_progress=_renewing(found),
        )  # fmt: skip
        file.flush()
        imports.finish_import(found, file, url, got.size)


def _renewing(found: DatasetImport) -> Callable[[int], None]:
    """Store the progress every few seconds."""
    last = time.monotonic()

    def progress(received: int) -> None:
        nonlocal last
        if time.monotonic() - last > RENEW_SECONDS:
            last = time.monotonic()
            IMPORTS.renew(found, received=received)

    return progress


# --- Hugging Face ----------------------------------------------------------------------------------


def find_file(source: str) -> str:
    """The URL of the file to download: ``source``, or the Parquet file of a dataset on the hub.

    Raises WorkFailed and OutboundError.
    """
    hub = settings.HUB_URL
    name = source.removeprefix(f"{hub}/datasets/").strip("/")
    if HUB_ID.fullmatch(name):
        return _parquet_of(name, _listing(f"{hub}/api/datasets/{name}/parquet"))
    return source.replace("/blob/", "/resolve/", 1) if source.startswith(f"{hub}/datasets/") else source


def _listing(url: str) -> Any:
    body: BinaryIO = io.BytesIO()
    download(url, body, max_bytes=LISTING_BYTES, max_seconds=LISTING_SECONDS, redirects=REDIRECTS)
    body.seek(0)
    try:
        return json.load(body)
    except ValueError:
        return None


def _parquet_of(name: str, listing: Any) -> str:
    """The only Parquet file of the train split of the only subset, or of the one named default."""
    if not isinstance(listing, dict) or not listing:
        raise WorkFailed(f"{name} has no Parquet files.", "Give the URL of one of its files.")
    subset = _only(f"{name} has the subsets", listing, "default")
    files = _only(f"{name} has the splits", subset, "train") if isinstance(subset, dict) else None
    if not isinstance(files, list) or not files or not all(isinstance(url, str) for url in files):
        raise WorkFailed(f"The hub's list of the files of {name} cannot be read.", "Give the URL of a file.")
    if len(files) > 1:
        raise WorkFailed(
            f"{name} has {len(files)} files.", "Give the URL of one file, and import one at a time."
        )
    return str(files[0])


def _only(what: str, parts: dict[str, Any], usual: str) -> Any:
    if usual in parts:
        return parts[usual]
    if len(parts) == 1:
        return next(iter(parts.values()))
    named = ", ".join(sorted(map(str, parts))[:10])
    raise WorkFailed(f"{what} {named}.", "Give the URL of one file.")
