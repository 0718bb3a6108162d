"""This machine as a node: what it has, and a sign of life now and then."""

from __future__ import annotations

import json
import logging
import os
import platform
import shutil
import subprocess
import sys
import threading
from importlib.metadata import version
from typing import Any

import psutil
from celery.signals import worker_ready
from django.conf import settings
from django.db import DatabaseError, close_old_connections, connection

from webapp.work import messages, nodes
from workers.bridge import child
from workers.bridge.gpus import find_gpus, read_load
from workers.bridge.jobs import files
from workers.contract.devices import NodeDevices

log = logging.getLogger(__name__)
PACKAGES = ("torch", "transformers", "trl", "peft")
GIB = 2**30
PROBE_SECONDS = 60


def node_name() -> str:
    """How this worker is known: ``GROOVE_NODE``, or the host's name."""
    return os.environ.get("GROOVE_NODE") or platform.node()


def sandbox() -> dict[str, Any]:
    """Whether Python graders can run here, found out by trying attacks in a jailed child."""
    command = [sys.executable, "-m", "workers.grading", "probe"]
    refused = {"available": False, "layers": [], "remedy": "See docs/sandbox.md."}
    try:
        done = subprocess.run(
            command, cwd=settings.BASE_DIR, capture_output=True, text=True, timeout=PROBE_SECONDS
        )
    except subprocess.TimeoutExpired:
        return refused | {"reason": f"The sandbox's probe did not answer within {PROBE_SECONDS} s."}
    if done.returncode:
        return refused | {"reason": done.stderr[-500:]}
    status: dict[str, Any] = json.loads(done.stdout)
    return status


def health() -> dict[str, Any]:
    """Room on the disk that jobs work on, and memory, in GiB; how busy CPU and GPUs are, in percent."""
    settings.WORK_DIR.mkdir(parents=True, exist_ok=True)
    settings.WORK_DIR.chmod(0o700)  # an older Groove left it open to other users
    disk, memory = shutil.disk_usage(settings.WORK_DIR), psutil.virtual_memory()
    return {
        "disk_free_gib": round(disk.free / GIB, 1),
        "disk_gib": round(disk.total / GIB, 1),
        "memory_free_gib": round(memory.available / GIB, 1),
        "memory_gib": round(memory.total / GIB, 1),
        "cpu_busy_percent": psutil.cpu_percent(),
        "gpus": read_load(),
    }


def _announce() -> None:
    psutil.cpu_percent()  # from here on, until the first sign of life
    versions = {"python": platform.python_version(), "os": platform.platform()}
    versions |= {package: version(package) for package in PACKAGES}
    devices = NodeDevices(cpu_cores=settings.CPU_CORES, gpus=find_gpus())
    nodes.register_node(node_name(), versions, devices, sandbox())
    files.discard_leftovers()
    messages.notify_workers("run_jobs")


def _beat(stop: threading.Event) -> None:
    """Announce until it works, then give a sign of life each third of a lease."""
    act = _announce
    while True:
        try:
            close_old_connections()
            act()
            act = _seen
        except DatabaseError as error:
            log.warning("No sign of life from %s: %s", node_name(), error)
            connection.close()
        if stop.wait(settings.LEASE_SECONDS / 3):
            return


def _seen() -> None:
    nodes.record_health(node_name(), health())


@worker_ready.connect
def start(**_: Any) -> None:
    """Announce this node and keep saying that it is alive."""
    threading.Thread(target=_beat, args=[threading.Event()], name="node", daemon=True).start()
    child.warm_up()
