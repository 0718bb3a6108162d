"""``manage.py doctor``: whether this machine can do what Groove asks of it, and the remedy if not."""

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


class Unwell(Exception):
    """``args`` are what is wrong and the remedy."""


def database() -> str:
    """Reachable, with every migration applied."""
    try:
        executor = MigrationExecutor(connection)
    except Exception as error:
        raise Unwell(f"not reachable: {error}".strip(), "Start it (make up), or set DATABASE_URL.") from error
    missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if missing:
        raise Unwell(f"{len(missing)} migrations are not applied", "Run manage.py migrate.")
    with connection.cursor() as cursor:
        cursor.execute("show server_version")
        return f"PostgreSQL {cursor.fetchone()[0]}"


def broker() -> str:
    """Takes messages."""
    try:
        with app.connection_for_write() as link:
            link.ensure_connection(max_retries=0)
    except (OSError, redis.RedisError, KombuError) as error:
        raise Unwell(f"not reachable: {error}", "Start it (make up), or set BROKER_URL.") from error
    return "answers"


def storage() -> str:
    """Keeps what is written, and room is left for more."""
    try:
        name = default_storage.save(create_public_id("doctor/"), ContentFile(b"well"))
        with default_storage.open(name) as file:
            kept = file.read() == b"well"
        default_storage.delete(name)
    except Exception as error:
        raise Unwell(f"{type(error).__name__}: {error}", "Check STORAGE_URL and its rights.") from error
    if not kept:
        raise Unwell("gives back other bytes than it was given", "Do not use this storage.")
    return "keeps what is written"


def disk() -> str:
    """Room for the attempts of running jobs."""
    settings.WORK_DIR.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(settings.WORK_DIR).free / GIB
    if free < FREE_GIB:
        raise Unwell(f"{free:.1f} GiB free where jobs work", "Free space, or set GROOVE_WORK.")
    return f"{free:.0f} GiB free"


def privacy() -> str:
    """No other user of the machine can read what teams store."""
    folders = {settings.WORK_DIR, *(settings.VAR_DIR / name for name in ("log", "tmp", "uploads"))}
    if isinstance(default_storage, FileSystemStorage):
        folders.add(Path(default_storage.location))
    for folder in sorted(folders):
        if folder.is_dir() and stat.S_IMODE(folder.stat().st_mode) & OTHERS:
            raise Unwell(f"other users of this machine can read {folder}", f"Run chmod -R go= {folder}")
    return "only this user can read the folders of jobs, uploads and storage"


def sandbox() -> str:
    """Tries attacks in a locked-in process."""
    status = probe()
    if not status.available:
        raise Unwell(status.reason, status.remedy)
    return ", ".join(status.layers) + (f" ({status.reason} {status.remedy})" if status.reason else "")


def pages() -> str:
    """The front end is built."""
    if not (settings.BASE_DIR / "static" / "dist" / "app.js").exists():
        raise Unwell("the scripts and styles of the pages are not built", "Run make setup.")
    return "built"


CHECKS: dict[str, Callable[[], str]] = {
    "database": database,
    "broker": broker,
    "storage": storage,
    "disk": disk,
    "privacy": privacy,
    "sandbox": sandbox,
    "pages": pages,
}


class Command(BaseCommand):
    """Prints a line a check; exits with 1 if one is unwell."""

    help = "Checks database, broker, storage, disk, sandbox and pages."
    requires_system_checks: list[str] = []

    def handle(self, *_: Any, **__: Any) -> None:
        unwell = 0
        for name, check in CHECKS.items():
            try:
                self.stdout.write(f"well    {name}: {check()}")
            except Unwell as error:
                unwell += 1
                reason, remedy = error.args
                self.stdout.write(f"UNWELL  {name}: {reason}\n        {remedy}")
        sys.exit(1 if unwell else 0)
