"""A spare process, which imports PyTorch before its job is known (``bridge.jobs.spare_engine``)."""

from __future__ import annotations

import importlib
import json
import os
import socket
import sys
from collections.abc import Callable
from typing import TypedDict

MAX_ORDER_BYTES = 1 << 20
MAX_DESCRIPTORS = 8


class Order(TypedDict):
    """A command line with its environment and log. Each of ``options`` gets a file descriptor."""

    arguments: list[str]
    environment: dict[str, str]
    log: str
    options: list[str]


def run_one_order(orders: int, run: Callable[[list[str]], int]) -> int:
    """Import what jobs need, wait for one order, run it and return its status; 0 if none comes."""
    with socket.socket(fileno=orders) as channel:
        importlib.import_module("workers.engine.run")
        message, descriptors, _, _ = socket.recv_fds(channel, MAX_ORDER_BYTES, MAX_DESCRIPTORS)
    if not message:
        return 0
    order: Order = json.loads(message)
    os.environ.clear()
    os.environ.update(order["environment"])
    _redirect_output(order["log"])
    options = [
        text
        for option, descriptor in zip(order["options"], descriptors, strict=True)
        for text in (option, str(descriptor))
    ]
    return run([*order["arguments"], *options])


def _redirect_output(log: str) -> None:
    """Send the output of this process to the job's log."""
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(file, stream.fileno())
    os.close(file)
