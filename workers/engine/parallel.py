"""Data-parallel training of one adapter by several processes: a leader and its followers.

All processes sample and train on whole groups of their own, and accelerate synchronises them. Only the leader
(rank 0) grades, evaluates, reports, saves and packages. It starts the followers with the environment that
``accelerate launch`` sets, and they end when it ends.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

PATIENCE = 7 * 24 * 3600  # seconds that followers wait while the leader evaluates
POLL_SECONDS = 0.2
HANG_SECONDS = 20.0  # the leader may hang this long after a follower was lost, then it is ended


def rank() -> int:
    """Return this process's rank; 0 is the leader."""
    return int(os.environ.get("RANK", "0"))


def local_rank() -> int:
    """Return this process's index on its machine, which is the index of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def size() -> int:
    """Return the number of processes that train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


class Followers:
    """The follower processes of a job."""

    def __init__(self, processes: list[subprocess.Popen[bytes]]) -> None:
        self._processes = processes
        self.over = False

    def find_lost(self, patience: float = 0.0) -> int | None:
        """Return the rank of a follower that failed, waiting ``patience`` seconds for one at most."""
        until = time.monotonic() + patience
        while not self.over:
            failed = [rank for rank, each in enumerate(self._processes, start=1) if each.poll()]
            if failed or time.monotonic() > until:
                return failed[0] if failed else None
            time.sleep(POLL_SECONDS)
        return None

    def watch(self, report: Callable[[int], None]) -> None:
        """End this process some time after a follower was lost: it may hang in a collective operation."""

        def wait() -> None:
            while not self.over:
                if lost := self.find_lost():
                    time.sleep(HANG_SECONDS)
                    report(lost)
                    os._exit(1)
                time.sleep(POLL_SECONDS)

        threading.Thread(target=wait, name="followers", daemon=True).start()


@contextmanager
def start_followers(number: int, arguments: list[str]) -> Iterator[Followers]:
    """Start ``number`` - 1 followers, which run the engine with ``arguments``, and make this the leader.

    Their output goes to this process's standard error.
    """
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    shared = {"WORLD_SIZE": str(number), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    read_end, write_end = os.pipe()
    processes = []
    for index in range(number if number > 1 else 0):
        own = shared | {"RANK": str(index), "LOCAL_RANK": str(index)}
        if index == 0:
            os.environ |= own
            continue
        command = [sys.executable, "-m", "workers.engine", *arguments, "--lifeline", str(read_end)]
        processes.append(
            subprocess.Popen(command, env=os.environ | own, pass_fds=[read_end], stdout=sys.stderr)
        )
    followers = Followers(processes)
    try:
        yield followers
    finally:
        followers.over = True
        os.close(write_end)  # their lifeline
        os.close(read_end)
        for process in processes:
            process.wait()
        for name in (*shared, "RANK", "LOCAL_RANK"):
            os.environ.pop(name, None)


# --- synchronisation -------------------------------------------------------------------------------


def gather(value: Any) -> list[Any]:
    """Return the value of every process, by rank."""
    from accelerate.utils import gather_object

    return list(gather_object([value])) if size() > 1 else [value]


def broadcast(value: Any) -> Any:
    """Return the leader's value in every process."""
    from accelerate.utils import broadcast_object_list

    return broadcast_object_list([value])[0] if size() > 1 else value


def average(gradients: list[torch.Tensor]) -> None:
    """Replace each tensor by its mean over the processes."""
    import torch
    from accelerate.utils import reduce

    if size() == 1 or not gradients:
        return
    mean: Any = reduce(torch.cat([each.flatten() for each in gradients]), "mean")
    for each, part in zip(gradients, mean.split([each.numel() for each in gradients]), strict=True):
        each.copy_(part.view_as(each))


@contextmanager
def without_gathering(accelerator: Any) -> Iterator[None]:
    """Let TRL gather only from this process: processes may differ in their number of passes."""
    if size() == 1:
        yield
        return

    def identity(value: Any, *_: Any, **__: Any) -> Any:
        return value

    names = ("gather", "gather_for_metrics", "reduce")
    for name in names:
        setattr(accelerator, name, identity)
    try:
        yield
    finally:
        for name in names:
            delattr(accelerator, name)


def follower_arguments(spec: Path, out: Path, resume: Path | None) -> list[str]:
    """Return a follower's command line."""
    return ["run", str(spec), "--out", str(out), *(["--resume", str(resume)] if resume else [])]
