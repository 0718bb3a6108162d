"""Imports of datasets: downloads a file that a user named, and checks it as an upload."""

from __future__ import annotations

import io
import json
import re
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
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
    if claimed := IMPORTS.claim(import_id, received=0):
        run_claimed(IMPORTS, claimed, _run_import)


def _run_import(claimed: DatasetImport, _folder: Path, _lost: threading.Event) -> None:
    try:
        _import(claimed)
    except OutboundError as error:
        remedy = "Check the URL. If it is right, download the file and upload it here."
        raise WorkFailed(str(error), remedy) from error


def _import(claimed: DatasetImport) -> None:
    url = find_file(claimed.source)
    with tempfile.TemporaryFile(dir=settings.FILE_UPLOAD_TEMP_DIR) as file:
        result = download(
            url, file, max_bytes=settings.MAX_UPLOAD_BYTES, max_seconds=MOST_SECONDS, redirects=REDIRECTS,
            on_progress=_build_progress(claimed),
        )  # fmt: skip
        file.flush()
        imports.finish_import(claimed, file, url, result.size)


def _build_progress(claimed: DatasetImport) -> Callable[[int], None]:
    """Return a callback that stores the progress every few seconds."""
    last = time.monotonic()

    def progress(received: int) -> None:
        nonlocal last
        if time.monotonic() - last > RENEW_SECONDS:
            last = time.monotonic()
            IMPORTS.renew(claimed, received=received)

    return progress


# --- Hugging Face ----------------------------------------------------------------------------------


def find_file(source: str) -> str:
    """Return the URL of the file to download: ``source``, or the Parquet file of a dataset on the hub.

    Raises WorkFailed and OutboundError.
    """
    hub = settings.HUB_URL
    name = source.removeprefix(f"{hub}/datasets/").strip("/")
    if HUB_ID.fullmatch(name):
        return _select_parquet(name, _fetch_listing(f"{hub}/api/datasets/{name}/parquet"))
    return source.replace("/blob/", "/resolve/", 1) if source.startswith(f"{hub}/datasets/") else source


def _fetch_listing(url: str) -> Any:
    body: BinaryIO = io.BytesIO()
    download(url, body, max_bytes=LISTING_BYTES, max_seconds=LISTING_SECONDS, redirects=REDIRECTS)
    body.seek(0)
    try:
        return json.load(body)
    except ValueError:
        return None


def _select_parquet(name: str, listing: Any) -> str:
    """Return the only Parquet file of the train split of the only or default subset."""
    if not isinstance(listing, dict) or not listing:
        raise WorkFailed(f"{name} has no Parquet files.", "Give the URL of one of its files.")
    subset = _select_one(f"{name} has the subsets", listing, "default")
    files = _select_one(f"{name} has the splits", subset, "train") if isinstance(subset, dict) else None
    if not isinstance(files, list) or not files or not all(isinstance(url, str) for url in files):
        raise WorkFailed(f"The hub's list of the files of {name} cannot be read.", "Give the URL of a file.")
    if len(files) > 1:
        raise WorkFailed(
            f"{name} has {len(files)} files.", "Give the URL of one file, and import one at a time."
        )
    return str(files[0])


def _select_one(what: str, parts: Mapping[str, Any], usual: str) -> Any:
    if usual in parts:
        return parts[usual]
    if len(parts) == 1:
        return next(iter(parts.values()))
    names = ", ".join(sorted(map(str, parts))[:10])
    raise WorkFailed(f"{what} {names}.", "Give the URL of one file.")
