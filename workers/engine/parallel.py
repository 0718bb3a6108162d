"""Several processes train one adapter, data parallel: a leader does the job, followers help it to train.

All of them sample, grade nothing and learn from whole groups of their own; accelerate carries between them
what must be one. The leader (rank 0) grades, evaluates, reports, saves and packages. It starts the followers
with the environment that ``accelerate launch`` sets, and they end with it.
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
SLOW_TO_NOTICE = 20.0  # seconds after which a leader that hangs is ended from outside


def rank() -> int:
    """This process's place; 0 leads."""
    return int(os.environ.get("RANK", "0"))


def local_rank() -> int:
    """This process's index among those of its machine, which is the index of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def size() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


class Followers:
    """The other processes of a job. ``lost`` is the first that failed; one that is done is not."""

    def __init__(self, processes: list[subprocess.Popen[bytes]]) -> None:
        self._processes = processes
        self.over = False

    def lost(self, patience: float = 0.0) -> int | None:
        """The rank of a follower that has failed, looked for at most ``patience`` seconds."""
        until = time.monotonic() + patience
        while not self.over:
            failed = [place for place, each in enumerate(self._processes, start=1) if each.poll()]
            if failed or time.monotonic() > until:
                return failed[0] if failed else None
            time.sleep(POLL_SECONDS)
        return None

    def watch(self, tell: Callable[[int], None]) -> None:
        """Ends this process some time after a follower was lost: it may hang in a collective operation."""

        def wait() -> None:
            while not self.over:
                if lost := self.lost():
                    time.sleep(SLOW_TO_NOTICE)
                    tell(lost)
                    os._exit(1)
                time.sleep(POLL_SECONDS)

        threading.Thread(target=wait, name="followers", daemon=True).start()


@contextmanager
def started(number: int, arguments: list[str]) -> Iterator[Followers]:
    """``number`` processes in all, this one leading; the others run the engine with ``arguments``.

    Their output goes where this process's errors go.
    """
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    shared = {"WORLD_SIZE": str(number), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    read_end, write_end = os.pipe()
    processes = []
    for place in range(number if number > 1 else 0):
        own = shared | {"RANK": str(place), "LOCAL_RANK": str(place)}
        if place == 0:
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


# --- what must be one ------------------------------------------------------------------------------


def gathered(value: Any) -> list[Any]:
    """The value of every process, by rank."""
    from accelerate.utils import gather_object

    return list(gather_object([value])) if size() > 1 else [value]


def leaders(value: Any) -> Any:
    """The leader's value, in every process."""
    from accelerate.utils import broadcast_object_list

    return broadcast_object_list([value])[0] if size() > 1 else value


def average(gradients: list[torch.Tensor]) -> None:
    """Each tensor becomes its mean over the processes."""
    import torch
    from accelerate.utils import reduce

    if size() == 1 or not gradients:
        return
    mean: Any = reduce(torch.cat([each.flatten() for each in gradients]), "mean")
    for each, part in zip(gradients, mean.split([each.numel() for each in gradients]), strict=True):
        each.copy_(part.view_as(each))


@contextmanager
def alone(accelerator: Any) -> Iterator[None]:
    """Within, TRL's own gathering sees this process alone: processes may differ in their number of passes."""
    if size() == 1:
        yield
        return

    def same(value: Any, *_: Any, **__: Any) -> Any:
        return value

    names = ("gather", "gather_for_metrics", "reduce")
    for name in names:
        setattr(accelerator, name, same)
    try:
        yield
    finally:
        for name in names:
            delattr(accelerator, name)


def argument_list(spec: Path, out: Path, resume: Path | None) -> list[str]:
    """How a follower is told what to do."""
    return ["run", str(spec), "--out", str(out), *(["--resume", str(resume)] if resume else [])]
