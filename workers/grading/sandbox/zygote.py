"""The program behind the outer wall: imports the modules of graders, then forks locked-in processes.

It runs no user code and reads only the host's orders: ``fork``, with the ends of two pipes, and
``end``, with a process's number. So a fresh process costs a fork, not an interpreter and its imports. Every
process that it forks locks itself in (``jail.py``) before it meets a source. The host hands these files'
texts to a fresh interpreter, which cannot read the checkout.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import sys
from contextlib import suppress
from typing import Any, TypedDict

ORDER_BYTES = 4096
Namespace = dict[str, Any]


class Config(TypedDict):
    """What the host tells; workers get it too."""

    host: int
    namespaces: bool
    path: list[str]
    warm: list[str]


def main(config: Config, jail: Namespace, worker: Namespace) -> None:
    """Serve until the host ends. ``jail`` and ``worker`` are the namespaces of the files of these names."""
    jail["die_with_parent"]()
    host = socket.socket(fileno=config["host"])
    if config["namespaces"]:
        jail["enter_namespaces"]()
    # Standard input is /dev/null. Until here, the host reads errors from standard error.
    os.dup2(0, 2)
    sys.path[:] = config["path"]
    for module in config["warm"]:
        with suppress(Exception):  # the source that imports it gets the same error, and reports it
            importlib.import_module(module)
    host.send(b'"ready"')
    while True:
        order, descriptors, _, _ = socket.recv_fds(host, ORDER_BYTES, 2)
        if not order:
            os._exit(0)
        wanted = json.loads(order)
        if "end" in wanted:
            host.send(json.dumps(end(wanted["end"])).encode())
        else:
            child = fork(host, descriptors, config, jail, worker)
            host.send(json.dumps(child).encode())


def fork(
    host: socket.socket, descriptors: list[int], config: Config, jail: Namespace, worker: Namespace
) -> int:
    """Start a process of ``worker.py``, which has its two pipes and nothing else of the host."""
    child = os.fork()
    if child == 0:
        jail["die_with_parent"]()
        host.close()
        worker["main"](config, jail, *descriptors)
        os._exit(0)
    for descriptor in descriptors:
        os.close(descriptor)
    return child


def end(child: int) -> int:
    """Kill a child, if it has not ended, and return its exit code; the code of a signal is negative."""
    with suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)
