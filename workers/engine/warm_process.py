"""A process that has imported PyTorch before its job is known. ``bridge.jobs.spare_engine`` starts it."""

from __future__ import annotations

import importlib
import json
import os
import socket
import sys
from collections.abc import Callable
from typing import Any

LARGEST_ORDER = 1 << 20
MOST_DESCRIPTORS = 8


def serve_one(orders: int, run: Callable[[list[str]], int]) -> int:
    """Imports what jobs need, waits for one order and becomes it. Returns its status; 0 if none comes."""
    with socket.socket(fileno=orders) as channel:
        importlib.import_module("workers.engine.run")
        message, descriptors, _, _ = socket.recv_fds(channel, LARGEST_ORDER, MOST_DESCRIPTORS)
    if not message:
        return 0
    order: dict[str, Any] = json.loads(message)
    os.environ.clear()
    os.environ.update(order["environment"])
    _write_to(order["log"])
    options = [
        text
        for option, descriptor in zip(order["options"], descriptors, strict=True)
        for text in (option, str(descriptor))
    ]
    return run([*order["arguments"], *options])


def _write_to(log: str) -> None:
    """What the process says from now on goes to the job's own log."""
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(file, stream.fileno())
    os.close(file)
