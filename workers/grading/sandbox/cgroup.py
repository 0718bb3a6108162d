"""Limits of a whole pool by the kernel's control groups (cgroup v2), where an operator has prepared one.

``GROOVE_CGROUP`` names a folder below ``/sys/fs/cgroup`` that this user may write to and whose
``cgroup.subtree_control`` has memory, pids and cpu. Source: Documentation/admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

import os
import time
import uuid
from contextlib import suppress
from pathlib import Path

from workers.grading.results import Limits

VARIABLE = "GROOVE_CGROUP"
CONTROLLERS = {"memory", "pids", "cpu"}
POOL_MEMORY = 2  # a pool may hold so many times what one of its processes may
MOST_PROCESSES = 64
CORES = 2
PERIOD = 100_000  # microseconds
EMPTY_SECONDS = 1.0
# Joins the group before anything else is started, so that nothing of the pool is left outside.
JOIN = 'echo $$ > "$0/cgroup.procs" && exec "$@"'


class CgroupUnusable(OSError):
    """The folder that ``GROOVE_CGROUP`` names cannot limit anything; the message says why."""


class Cgroup:
    """A control group for one pool."""

    def __init__(self, parent: Path, limits: Limits) -> None:
        try:
            enabled = set((parent / "cgroup.subtree_control").read_text().split())
            self.folder = parent / f"graders-{uuid.uuid4().hex}"
            if not enabled >= CONTROLLERS:
                missing = ", ".join(sorted(CONTROLLERS - enabled))
                raise CgroupUnusable(f"{parent} does not hand on {missing}")
            self.folder.mkdir()
            (self.folder / "memory.max").write_text(str(POOL_MEMORY * limits.memory_bytes))
            (self.folder / "pids.max").write_text(str(MOST_PROCESSES))
            (self.folder / "cpu.max").write_text(f"{CORES * PERIOD} {PERIOD}")
        except OSError as error:
            raise CgroupUnusable(f"{VARIABLE}: {error}") from error

    def command(self, command: list[str]) -> list[str]:
        """Return a command that starts ``command`` inside the group."""
        return ["/bin/sh", "-c", JOIN, str(self.folder), *command]

    def remove(self) -> None:
        """Remove the group after its last process has gone, which takes the kernel a moment."""
        end = time.monotonic() + EMPTY_SECONDS
        while self.folder.exists() and time.monotonic() < end:
            with suppress(OSError):
                self.folder.rmdir()
                return
            time.sleep(0.01)


def new_cgroup(limits: Limits) -> Cgroup | None:
    """Return a group below the one that the operator prepared, or ``None``. Raises ``CgroupUnusable``."""
    parent = os.environ.get(VARIABLE)
    return Cgroup(Path(parent), limits) if parent else None
