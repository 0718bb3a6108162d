"""A spare engine process that has already imported PyTorch, so that a job starts without that delay.

The spare waits on a socket for an order: command line, environment, log and file descriptors. It then
becomes that job's child, and another spare is started. When the worker dies the socket closes and an idle
spare exits.
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
    """A process that waits for an order."""

    process: subprocess.Popen[bytes]
    orders: socket.socket

    def send_order(
        self, arguments: list[str], environment: dict[str, str], log: Path, descriptors: dict[str, int]
    ) -> bool:
        """Make it run ``python -m`` with these arguments; return False if it has ended."""
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


def start_spare(environment: dict[str, str]) -> Spare:
    """Start a spare. It accepts an order at once, and needs some seconds for its imports."""
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


class SparePool:
    """The worker's one spare, for use by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spare: Spare | None = None

    def take(self) -> Spare | None:
        """Remove and return the spare, if there is one."""
        with self._lock:
            spare, self._spare = self._spare, None
        return spare

    def fill(self, environment: dict[str, str]) -> None:
        """Start a spare, unless there is one or the settings forbid it."""
        with self._lock:
            if settings.WARM_ENGINES and (self._spare is None or self._spare.process.poll() is not None):
                self._spare = start_spare(environment)

    def clear(self) -> None:
        """End the spare."""
        if spare := self.take():
            spare.orders.close()
            with suppress(subprocess.TimeoutExpired):
                spare.process.wait(5)


SPARES = SparePool()
