"""`make up` restarts processes that end, and refuses a folder that another Groove uses."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import ROOT, free_port
from webapp.config.processes import keep_running
from webapp.config.processes.keep_running import Restarts

PATIENCE_SECONDS = 90


def until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, f"not within {PATIENCE_SECONDS} s: {what}"
        time.sleep(0.1)


# --- one process -----------------------------------------------------------------------------------


def test_a_process_that_ends_too_often_stops_groove_with_an_explanation(tmp_path: Path) -> None:
    """The owner of the process is terminated too."""
    program = (
        "import subprocess, sys;"
        "from webapp.config.processes.keep_running import ProcessOptions, build_command;"
        "command = [sys.executable, '-c', 'exit(3)'];"
        "sys.exit(subprocess.call(build_command('web', command, ProcessOptions(), limit=2)))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert lines[0] == "web ended with status 3; starting it again (restart 1 of at most 2)."
    assert lines[-1].startswith("web ended 3 times within 10 minutes, last with status 3. Groove stops.")
    assert done.returncode == -signal.SIGTERM


def test_a_process_ends_with_the_launcher_that_was_killed(tmp_path: Path) -> None:
    mark = f"GROOVE_TEST_{os.getpid()}_{time.monotonic_ns()}"
    command = [sys.executable, "-c", "import time; time.sleep(600)", mark]
    program = (
        "import subprocess, time;"
        "from webapp.config.processes.keep_running import ProcessOptions, build_command;"
        f"command = build_command('worker', {command!r}, ProcessOptions());"
        "subprocess.Popen(command, start_new_session=True); time.sleep(600)"
    )
    launcher = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT)
    until(lambda: len(with_mark(mark)) == 2, "runner and command started")
    launcher.kill()
    launcher.wait()
    until(lambda: not with_mark(mark), "both ended")


def with_mark(mark: str) -> list[psutil.Process]:
    return [p for p in psutil.process_iter(["cmdline"]) if mark in (p.info["cmdline"] or [])]


@given(st.lists(st.floats(0, 2000), min_size=1, max_size=30), st.integers(0, 5))
def test_only_the_ends_of_the_last_ten_minutes_count(moments: list[float], limit: int) -> None:
    restarts = Restarts(limit, 600)
    for moment in sorted(moments):
        restarts.record_end(moment)
    recent = [moment for moment in moments if moment > max(moments) - 600]
    assert restarts.exhausted == (len(recent) > limit)
    assert 0 < restarts.wait_seconds <= keep_running.LONGEST_WAIT_SECONDS


# --- the whole site --------------------------------------------------------------------------------


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, str], str]]:
    """Run ``manage.py up`` with its own services. Yields process, environment and URL."""
    port = free_port()
    own = {"DATABASE_URL", "BROKER_URL", "STORAGE_URL", "GROOVE_WORK"}
    environment = {name: value for name, value in os.environ.items() if name not in own}
    environment |= {
        "DJANGO_SETTINGS_MODULE": "webapp.config.settings",
        "GROOVE_VAR": str(tmp_path / "var"),
        "GROOVE_PORT": str(port),
        "GROOVE_WARM_ENGINES": "0",
    }
    process = subprocess.Popen(
        [sys.executable, "manage.py", "up"], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL
    )
    try:
        yield process, environment, f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/healthz", timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def running(launcher: subprocess.Popen[bytes]) -> dict[str, psutil.Process]:
    """Return the commands below the launcher by name."""
    found = {}
    for process in psutil.Process(launcher.pid).children(recursive=True):
        with suppress(psutil.Error):  # it has just ended
            arguments = process.cmdline()
            if "webapp.config.processes.keep_running" in arguments and (children := process.children()):
                found[arguments[arguments.index("webapp.config.processes.keep_running") + 1]] = children[0]
    return found


def test_killed_services_restart_and_a_second_up_is_refused(
    site: tuple[subprocess.Popen[bytes], dict[str, str], str],
) -> None:
    launcher, environment, address = site
    until(lambda: answers(address), "the site answers")
    second = subprocess.run(
        [sys.executable, "manage.py", "up"], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert second.returncode == 1
    assert f"already runs from {environment['GROOVE_VAR']} (process {launcher.pid})" in second.stderr
    assert answers(address), "the second one disturbed nothing"

    before = running(launcher)
    assert set(before) == {"PostgreSQL", "Valkey", "web", "worker", "beat"}
    for process in before.values():
        process.kill()
    until(lambda: set(running(launcher)) == set(before), "all run again")
    until(lambda: answers(address), "the site answers again")
    assert launcher.poll() is None
