"""Run Groove on one machine: services, web, worker and beat, in one foreground command."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings
from django.core.management.base import CommandError
from filelock import FileLock, Timeout
from honcho.manager import Manager

from webapp.config import env
from webapp.config.processes import embedded, keep_running
from webapp.config.processes.keep_running import ProcessOptions

PYTHON = sys.executable
CELERY = [PYTHON, "-m", "celery", "-A", "workers.celery"]


def choose_port() -> int:
    """Return ``GROOVE_PORT``, or the first free port from 8000 on."""
    if "GROOVE_PORT" in os.environ:
        return env.number("GROOVE_PORT", 8000, at_least=1)
    for candidate in range(8000, 8100):
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if listener.connect_ex(("127.0.0.1", candidate)):
                return candidate
    raise CommandError("No free port between 8000 and 8099. Set GROOVE_PORT to a free port.")


def build_commands(port: int) -> dict[str, list[str]]:
    """Return the command of each process by name."""
    bind = env.text("GROOVE_BIND", "127.0.0.1")
    web = [PYTHON, "-m", "uvicorn", "webapp.config.asgi:application", "--lifespan", "off"]
    web += ["--no-access-log", "--no-proxy-headers"]  # the settings decide which proxies count
    return {
        "web": [*web, "--host", bind, "--port", str(port)],
        "worker": [*CELERY, "worker", "--pool", "threads", "--concurrency", "16", "--loglevel", "info"],
        "beat": [*CELERY, "beat", "--loglevel", "warning", "--schedule", str(settings.VAR_DIR / "beat")],
    }


def _make_private_folders(folder: Path) -> None:
    """Create private folders for teams' data, and restrict those of older versions."""
    for private in (folder / "tmp", folder / "log", settings.WORK_DIR):
        private.mkdir(parents=True, exist_ok=True)
        private.chmod(0o700)
    folder.chmod(0o711)  # an embedded PostgreSQL may run as another user, who needs to traverse it


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Lock the folder. Raises CommandError if another Groove uses its data."""
    lock = FileLock(folder / "groove.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        pid_file = folder / "groove.pid"
        process = f" (process {pid_file.read_text()})" if pid_file.exists() else ""
        raise CommandError(
            f"Groove already runs from {folder}{process}. Stop it with `make down`, or set GROOVE_VAR to "
            "another folder to run a second one."
        ) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def run_services() -> Iterator[dict[str, str]]:
    """Start embedded services and migrate the database. Yields the children's environment.

    Raises CommandError if a Groove already runs from this folder.
    """
    folder: Path = settings.VAR_DIR
    _make_private_folders(folder)
    pid_file = folder / "groove.pid"
    with lock_folder(folder), embedded.run_services(folder) as urls:
        names = {"database": "DATABASE_URL", "broker": "BROKER_URL"}
        child = os.environ | {names[key]: value for key, value in urls.items()}
        for command in (["migrate", "--verbosity", "0"], ["prepare"]):
            subprocess.run([PYTHON, "manage.py", *command], cwd=settings.BASE_DIR, env=child, check=True)
        pid_file.write_text(str(os.getpid()))
        try:
            yield child
        finally:
            pid_file.unlink(missing_ok=True)


def supervise(
    child: dict[str, str], port: int, extra: dict[str, list[str]], log_folder: Path | None = None
) -> int:
    """Run everything until the user interrupts, ``extra`` ends, or a process ends too often.

    A process of the site restarts when it ends. Returns the exit status. With ``log_folder`` the output of
    the site goes to files there, and the terminal shows only ``extra`` and restarts.
    """
    manager = Manager()
    for name, command in build_commands(port).items():
        options = ProcessOptions(log=log_folder and log_folder / f"{name}.log")
        line = "exec " + shlex.join(keep_running.build_command(name, command, options))
        manager.add_process(name, line, env=child, cwd=str(settings.BASE_DIR))
    for name, command in extra.items():
        manager.add_process(name, "exec " + shlex.join(command), env=child, cwd=str(settings.BASE_DIR))
    manager.loop()
    return manager.returncode or 0
