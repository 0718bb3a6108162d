"""The program behind the outer wall: imports what graders import, then forks locked-in processes.

It runs no user's code and reads nothing but the host's orders: ``fork``, with the ends of two pipes, and
``end``, with a process's number. So a fresh process costs a fork, not an interpreter and its imports. Every
process that it forks locks itself in (``jail.py``) before it meets a source. The host hands these files'
texts to a fresh interpreter, which sees nothing of the checkout.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import sys
from contextlib import suppress
from typing import Any

ORDER_BYTES = 4096


def main(config: dict[str, Any], jail: dict[str, Any], worker: dict[str, Any]) -> None:
    """``jail`` and ``worker`` are the namespaces of the files of these names. Ends with the host."""
    jail["die_with_parent"]()
    host = socket.socket(fileno=config["host"])
    if config["namespaces"]:
        jail["enter_namespaces"]()
    # Standard input is /dev/null. Until here, standard error told the host what went wrong.
    os.dup2(0, 2)
    sys.path[:] = config["path"]
    for module in config["warm"]:
        with suppress(Exception):  # the source that imports it will meet the same, and be told
            importlib.import_module(module)
    host.send(b'"ready"')
    while True:
        order, descriptors, _, _ = socket.recv_fds(host, ORDER_BYTES, 2)
        if not order:
            os._exit(0)
        wanted = json.loads(order)
        if "end" in wanted:
            host.send(json.dumps(ended(wanted["end"])).encode())
        else:
            child = forked(host, descriptors, config, jail, worker)
            host.send(json.dumps(child).encode())


def forked(
    host: socket.socket,
    descriptors: list[int],
    config: dict[str, Any],
    jail: dict[str, Any],
    worker: dict[str, Any],
) -> int:
    """A process of its own for ``worker.py``: it has its two pipes and nothing else of the host's."""
    child = os.fork()
    if child == 0:
        jail["die_with_parent"]()
        host.close()
        worker["main"](config, jail, *descriptors)
        os._exit(0)
    for descriptor in descriptors:
        os.close(descriptor)
    return child


def ended(child: int) -> int:
    """Ends a child, if it has not ended by itself, and returns its exit code; a signal is negative."""
    with suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)
