"""Alice owns a team, Bob may look at it, Charlie is a stranger with a team of his own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.cache import cache
from django.db import connection
from django.test import Client
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from webapp.config.env import replace_database
from webapp.teams.models import Membership, Role, Team, User
from webapp.teams.services import create_team

PASSWORD = "correct horse battery"
ROOT = Path(__file__).resolve().parents[1]
Process = subprocess.Popen[bytes]

# A crowded machine is slow, not wrong: pytest's own time limit is what ends a test.
hypothesis_settings.register_profile("crowded", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("crowded")


@pytest.fixture(autouse=True)
def _fresh_rate_limits() -> None:
    """Attempts that an earlier test made count no longer."""
    cache.clear()


@pytest.fixture(autouse=True)
def _long_leases(request: pytest.FixtureRequest, settings: Any) -> None:
    """The thread that renews a lease cannot see rows of a transaction that never commits."""
    marker = request.node.get_closest_marker("django_db")
    commits = {"transactional_db", "live_server", "site_env"} & set(request.fixturenames)
    if not commits and not (marker and marker.kwargs.get("transaction")):
        settings.LEASE_SECONDS = 600


@pytest.fixture
def alice(db: None) -> User:
    return User.objects.create_user("alice@example.com", PASSWORD)


@pytest.fixture
def team(alice: User) -> Team:
    return create_team(alice, "Acme")


@pytest.fixture
def bob(team: Team) -> User:
    user = User.objects.create_user("bob@example.com", PASSWORD)
    Membership.objects.create(team=team, user=user, role=Role.VIEWER)
    return user


@pytest.fixture
def erin(team: Team) -> User:
    user = User.objects.create_user("erin@example.com", PASSWORD)
    Membership.objects.create(team=team, user=user, role=Role.EDITOR)
    return user


@pytest.fixture
def charlie(db: None) -> User:
    user = User.objects.create_user("charlie@example.com", PASSWORD)
    create_team(user, "Elsewhere")
    return user


@pytest.fixture
def as_user() -> Callable[[User], Client]:
    """A browser without JavaScript, signed in."""

    def sign_in(user: User) -> Client:
        client = Client()
        client.force_login(user)
        return client

    return sign_in


def build_environment(work: Path) -> dict[str, str]:
    """The environment of real processes that work on this session's database."""
    return os.environ | {
        "DJANGO_SETTINGS_MODULE": "webapp.config.settings",
        "DATABASE_URL": replace_database(settings.DATABASE_URL, connection.settings_dict["NAME"]),
        "GROOVE_WORK": str(work),
        "GROOVE_CPU_CORES": "2",
        "OMP_NUM_THREADS": "2",
    }


@contextmanager
def run_processes(environment: dict[str, str]) -> Iterator[Callable[..., Process]]:
    """Give a function that starts ``python -m <module> …``; whatever still runs is stopped at the end."""
    processes: list[Process] = []

    def run(*arguments: str, **extra: str) -> Process:
        process: Process = subprocess.Popen(
            [sys.executable, "-m", *arguments], cwd=ROOT, env=environment | extra, start_new_session=True
        )
        processes.append(process)
        return process

    yield run
    for process in processes:
        process.send_signal(signal.SIGTERM)
    for process in processes:
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture
def site_env(transactional_db: None, tmp_path: Path) -> dict[str, str]:
    """The environment of real processes of this test alone."""
    return build_environment(tmp_path / "work")


@pytest.fixture
def start(site_env: dict[str, str]) -> Iterator[Callable[..., Process]]:
    """Start ``python -m <module> …`` on the test's services."""
    with run_processes(site_env) as run:
        yield run


@pytest.fixture
def start_worker(start: Callable[..., Process], tmp_path: Path) -> Callable[..., Process]:
    """Start a worker by name; the first one comes with a beat."""
    names: list[str] = []

    def run(name: str = "one", **extra: str) -> Process:
        celery = ["celery", "-A", "workers.celery"]
        if not names:
            start(*celery, "beat", "-l", "warning", "-s", str(tmp_path / "schedule"))
        names.append(name)
        worker = [*celery, "worker", "--pool", "threads", "-c", "4", "-l", "info", "-n", f"{name}@%h"]
        return start(*worker, GROOVE_NODE=name, **extra)

    return run


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def until_up(address: str) -> str:
    """The address, once its web process answers."""
    end = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(f"{address}/healthz")
        except OSError:
            assert time.monotonic() < end, "the web process did not answer within a minute"
            time.sleep(0.1)
            continue
        return address


def serve_web(start: Callable[..., Process], **extra: str) -> str:
    """Start a web process; give its address once it answers."""
    port = free_port()
    start("uvicorn", "webapp.config.asgi:application", "--port", str(port), "--lifespan", "off", **extra)
    return until_up(f"http://127.0.0.1:{port}")
