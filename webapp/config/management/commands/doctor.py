"""``manage.py doctor``: check that this machine can run Groove, and show remedies."""

from __future__ import annotations

import shutil
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, default_storage
from django.core.management.base import BaseCommand
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from kombu.exceptions import KombuError

from webapp.core.fields import create_public_id
from workers.celery import app
from workers.grading import probe

FREE_GIB = 5
GIB = 2**30
OTHERS = stat.S_IRWXG | stat.S_IRWXO


class CheckFailed(Exception):
    """A check failed. ``args`` are the reason and the remedy."""


def check_database() -> str:
    """Check that the database is reachable and migrated."""
    try:
        executor = MigrationExecutor(connection)
    except Exception as error:
        raise CheckFailed(
            f"not reachable: {error}".strip(), "Start it (make up), or set DATABASE_URL."
        ) from error
    missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if missing:
        raise CheckFailed(f"{len(missing)} migrations are not applied", "Run manage.py migrate.")
    with connection.cursor() as cursor:
        cursor.execute("show server_version")
        return f"PostgreSQL {cursor.fetchone()[0]}"


def check_broker() -> str:
    """Check that the broker accepts messages."""
    try:
        with app.connection_for_write() as link:
            link.ensure_connection(max_retries=0)
    except (OSError, redis.RedisError, KombuError) as error:
        raise CheckFailed(f"not reachable: {error}", "Start it (make up), or set BROKER_URL.") from error
    return "reachable"


def check_storage() -> str:
    """Check that the storage returns what was written."""
    try:
        name = default_storage.save(create_public_id("doctor/"), ContentFile(b"ok"))
        with default_storage.open(name) as file:
            kept = file.read() == b"ok"
        default_storage.delete(name)
    except Exception as error:
        raise CheckFailed(f"{type(error).__name__}: {error}", "Check STORAGE_URL and its rights.") from error
    if not kept:
        raise CheckFailed("returned other bytes than were written", "Do not use this storage.")
    return "returns what was written"


def check_disk() -> str:
    """Check the free space for running jobs."""
    settings.WORK_DIR.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(settings.WORK_DIR).free / GIB
    if free < FREE_GIB:
        raise CheckFailed(f"{free:.1f} GiB free where jobs work", "Free space, or set GROOVE_WORK.")
    return f"{free:.0f} GiB free"


def check_privacy() -> str:
    """Check that other users of the machine cannot read the data of teams."""
    folders = {settings.WORK_DIR, *(settings.VAR_DIR / name for name in ("log", "tmp", "uploads"))}
    if isinstance(default_storage, FileSystemStorage):
        folders.add(Path(default_storage.location))
    for folder in sorted(folders):
        if folder.is_dir() and stat.S_IMODE(folder.stat().st_mode) & OTHERS:
            raise CheckFailed(f"other users of this machine can read {folder}", f"Run chmod -R go= {folder}")
    return "only this user can read the folders of jobs, uploads and storage"


def check_sandbox() -> str:
    """Try attacks in a sandboxed process."""
    status = probe()
    if not status.available:
        raise CheckFailed(status.reason, status.remedy)
    return ", ".join(status.layers) + (f" ({status.reason} {status.remedy})" if status.reason else "")


def check_pages() -> str:
    """Check that the browser's files are built."""
    if not (settings.BASE_DIR / "static" / "dist" / "app.js").exists():
        raise CheckFailed("the scripts and styles of the pages are not built", "Run make setup.")
    return "built"


CHECKS: dict[str, Callable[[], str]] = {
    "database": check_database,
    "broker": check_broker,
    "storage": check_storage,
    "disk": check_disk,
    "privacy": check_privacy,
    "sandbox": check_sandbox,
    "pages": check_pages,
}


class Command(BaseCommand):
    """Prints one line per check. Exits with status 1 if a check fails."""

    help = "Checks database, broker, storage, disk, sandbox and pages."
    requires_system_checks: list[str] = []

    def handle(self, *_: Any, **__: Any) -> None:
        failed = 0
        for name, check in CHECKS.items():
            try:
                self.stdout.write(f"ok      {name}: {check()}")
            except CheckFailed as error:
                failed += 1
                reason, remedy = error.args
                self.stdout.write(f"FAILED  {name}: {reason}\n        {remedy}")
        sys.exit(1 if failed else 0)
