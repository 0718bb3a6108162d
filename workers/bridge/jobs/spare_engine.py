"""A spare engine process that has imported PyTorch already: a job's first step need not wait for imports.

The spare waits on a socket. An order names the command line, the environment, the log and file descriptors;
then the spare is that job's child, and another spare is started in its place. When the worker dies the socket
closes and an idle spare exits.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings


@dataclass
class Spare:
    """A process that waits for its order."""

    process: subprocess.Popen[bytes]
    orders: socket.socket

    def give(
        self, arguments: list[str], environment: dict[str, str], log: Path, descriptors: dict[str, int]
    ) -> bool:
        """Makes it ``python -m`` these arguments; False if it is no longer there to take the order."""
        order = {
            "arguments": arguments,
            "environment": environment,
            "log": str(log),
            "options": list(descriptors),
        }
        try:
            socket.send_fds(self.orders, [json.dumps(order).encode()], list(descriptors.values()))
        except OSError:
            return False
        finally:
            self.orders.close()
        return self.process.poll() is None


def start(environment: dict[str, str]) -> Spare:
    """Starts a spare; it needs some seconds until it is warm, and takes orders from the first moment."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    process = subprocess.Popen(
        [sys.executable, "-m", "workers.engine", "wait", "--orders", str(theirs.fileno())],
        cwd=settings.BASE_DIR,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=[theirs.fileno()],
        start_new_session=True,
    )
    theirs.close()
    return Spare(process, ours)


class Bench:
    """The worker's one spare, safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spare: Spare | None = None

    def take(self) -> Spare | None:
        """The spare, if there is one."""
        with self._lock:
            spare, self._spare = self._spare, None
        return spare

    def fill(self, environment: dict[str, str]) -> None:
        """Starts a spare unless one waits already, or the settings want none."""
        with self._lock:
            if settings.WARM_ENGINES and (self._spare is None or self._spare.process.poll() is not None):
                self._spare = start(environment)

    def clear(self) -> None:
        """Ends the spare."""
        if spare := self.take():
            spare.orders.close()
            with suppress(subprocess.TimeoutExpired):
                spare.process.wait(5)


BENCH = Bench()
