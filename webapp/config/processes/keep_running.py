"""``python -m webapp.config.processes.keep_running NAME … -- COMMAND``: run a process and restart it.

Signals reach the whole process group, so this process forwards none. If the launcher dies without stopping
its processes, this process stops the command. It does not import Django, since five of these run at once.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import psutil

POLL_SECONDS = 0.5
STOP_SECONDS = 20
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.5, 10.0


@dataclass
class Restarts:
    """The limit of restarts within ``window_seconds``."""

    limit: int
    window_seconds: float
    ends: deque[float] = field(default_factory=deque)

    def record_end(self, now: float) -> None:
        self.ends.append(now)
        while self.ends[0] <= now - self.window_seconds:
            self.ends.popleft()

    @property
    def exhausted(self) -> bool:
        return len(self.ends) > self.limit

    @property
    def wait_seconds(self) -> float:
        """The pause before the next start. It doubles with every end in the window."""
        return min(FIRST_WAIT_SECONDS * 2.0 ** (len(self.ends) - 1), LONGEST_WAIT_SECONDS)


@dataclass(frozen=True)
class ProcessOptions:
    """Working folder, user and log file of a command."""

    log: Path | None = None
    folder: Path | None = None
    user: tuple[int, int] | None = None
    """User and group id."""

    def start(self, command: list[str]) -> subprocess.Popen[bytes]:
        user, group = self.user or (None, None)
        with ExitStack() as stack:
            output = stack.enter_context(self.log.open("ab")) if self.log else None
            return subprocess.Popen(
                command, cwd=self.folder, user=user, group=group,
                stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip

    def as_arguments(self) -> list[str]:
        """Return the command-line options of this module."""
        found: list[str] = []
        if self.log:
            found += ["--log", str(self.log)]
        if self.folder:
            found += ["--folder", str(self.folder)]
        if self.user:
            found += ["--user", "{}:{}".format(*self.user)]
        return found


class Runner:
    """One command with its restarts and the process that owns it."""

    def __init__(
        self, name: str, command: list[str], restarts: Restarts, options: ProcessOptions, owner: int
    ) -> None:
        self.name, self.command, self.restarts, self.options = name, command, restarts, options
        self.owner = psutil.Process(owner)
        self.stopping = False

    def run(self) -> int:
        """Keep the command running until a signal asks to stop. Returns the exit status."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        while True:
            status = self._run_once()
            if self.stopping:
                return 0
            self.restarts.record_end(time.monotonic())
            if self.restarts.exhausted:
                self._print(self._describe_last_end(status))
                self.owner.terminate()
                return 1
            count = f"restart {len(self.restarts.ends)} of at most {self.restarts.limit}"
            self._print(f"{self.name} ended with status {status}; starting it again ({count}).")
            self._pause(self.restarts.wait_seconds)

    def _run_once(self) -> int:
        process = self.options.start(self.command)
        while process.poll() is None:
            if not self.stopping and not self.owner.is_running():
                self._print(f"The launcher of {self.name} is gone; stopping {self.name}.")
                self.stopping = True
                process.terminate()
            if self.stopping:
                return _wait_or_kill(process)
            time.sleep(POLL_SECONDS)
        return process.returncode

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self.stopping and time.monotonic() < until:
            time.sleep(POLL_SECONDS)

    def _describe_last_end(self, status: int) -> str:
        times, minutes = len(self.restarts.ends), self.restarts.window_seconds / 60
        return (
            f"{self.name} ended {times} times within {minutes:.0f} minutes, last with status {status}. "
            "Groove stops. Read the lines above or var/log for the cause, then start Groove again."
        )

    def _stop(self, *_: object) -> None:
        self.stopping = True

    def _print(self, text: str) -> None:
        print(text, flush=True)


def _wait_or_kill(process: subprocess.Popen[bytes]) -> int:
    try:
        return process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def build_command(
    name: str, command: list[str], options: ProcessOptions, *, limit: int = 5, window_seconds: float = 600
) -> list[str]:
    """Return the command line that keeps ``command`` running while this process lives."""
    limits = ["--limit", str(limit), "--window", str(window_seconds), "--owner", str(os.getpid())]
    module = [sys.executable, "-m", "webapp.config.processes.keep_running", name]
    return [*module, *limits, *options.as_arguments(), "--", *command]


def _parse_user(text: str) -> tuple[int, int]:
    user, _, group = text.partition(":")
    return int(user), int(group)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m webapp.config.processes.keep_running", description=__doc__
    )
    parser.add_argument("name")
    parser.add_argument("--limit", type=int, required=True, help="restarts within the window")
    parser.add_argument("--window", type=float, required=True, help="seconds")
    parser.add_argument("--owner", type=int, required=True, help="process id; the command ends with it")
    parser.add_argument("--log", type=Path, help="file for the output of the command")
    parser.add_argument("--folder", type=Path, help="working folder of the command")
    parser.add_argument("--user", type=_parse_user, help="user and group id of the command, as 65534:65534")
    parser.add_argument("command", nargs="+")
    arguments = parser.parse_args()
    restarts = Restarts(arguments.limit, arguments.window)
    options = ProcessOptions(arguments.log, arguments.folder, arguments.user)
    return Runner(arguments.name, arguments.command, restarts, options, arguments.owner).run()


if __name__ == "__main__":
    sys.exit(main())
