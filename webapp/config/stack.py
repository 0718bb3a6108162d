"""The whole of Groove on one machine: services, web, worker and beat, in one foreground command."""

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
from honcho.manager import Manager

from webapp.config import embedded, env

PYTHON = sys.executable
CELERY = [PYTHON, "-m", "celery", "-A", "workers.celery"]


def port() -> int:
    """The port to serve: ``GROOVE_PORT``, or the first free one from 8000 on."""
    if "GROOVE_PORT" in os.environ:
        return env.number("GROOVE_PORT", 8000, at_least=1)
    for candidate in range(8000, 8100):
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if listener.connect_ex(("127.0.0.1", candidate)):
                return candidate
    raise CommandError("No free port between 8000 and 8099. Set GROOVE_PORT to one that is free.")


def commands(port: int) -> dict[str, list[str]]:
    """The processes by name."""
    bind = env.text("GROOVE_BIND", "127.0.0.1")
    web = [PYTHON, "-m", "uvicorn", "webapp.config.asgi:application", "--lifespan", "off", "--no-access-log"]
    return {
        "web": [*web, "--host", bind, "--port", str(port)],
        "worker": [*CELERY, "worker", "--pool", "threads", "--concurrency", "16", "--loglevel", "info"],
        "beat": [*CELERY, "beat", "--loglevel", "warning", "--schedule", str(settings.VAR_DIR / "beat")],
    }


@contextmanager
def running_services() -> Iterator[dict[str, str]]:
    """Start embedded services and bring the database up to date; yields the children's environment."""
    folder: Path = settings.VAR_DIR
    (folder / "tmp").mkdir(parents=True, exist_ok=True)
    (folder / "log").mkdir(exist_ok=True)
    pid_file = folder / "groove.pid"
    with embedded.services(folder) as addresses:
        names = {"database": "DATABASE_URL", "broker": "BROKER_URL"}
        child = os.environ | {names[key]: value for key, value in addresses.items()}
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
    """Run everything until one process ends or the user interrupts; returns that process's exit status.

    With ``log_folder`` the site's own lines go to files there and only ``extra`` speaks on the terminal.
    """
    manager = Manager()
    for name, command in commands(port).items():
        line = "exec " + shlex.join(command)
        if log_folder:
            line += f" >> {shlex.quote(str(log_folder / name))}.log 2>&1"
        manager.add_process(name, line, env=child, cwd=str(settings.BASE_DIR))
    for name, command in extra.items():
        manager.add_process(name, "exec " + shlex.join(command), env=child, cwd=str(settings.BASE_DIR))
    manager.loop()
    return manager.returncode or 0
