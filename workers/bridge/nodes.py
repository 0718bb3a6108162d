"""This machine as a node: its devices, and a heartbeat."""

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
from typing import Any, TypedDict

import psutil
from celery.signals import worker_ready
from django.conf import settings
from django.db import DatabaseError, close_old_connections, connection

from webapp.work import messages, nodes
from workers.bridge import child
from workers.bridge.gpus import GpuLoad, find_gpus, read_load
from workers.bridge.jobs import files
from workers.contract.devices import NodeDevices
from workers.contract.json_types import JsonObject

log = logging.getLogger(__name__)
PACKAGES = ("torch", "transformers", "trl", "peft")
GIB = 2**30
PROBE_SECONDS = 60


class NodeHealth(TypedDict):
    """Space on the disk of jobs and memory, in GiB; load of CPU and GPUs, in percent."""

    disk_free_gib: float
    disk_gib: float
    memory_free_gib: float
    memory_gib: float
    cpu_busy_percent: float
    gpus: list[GpuLoad]


def node_name() -> str:
    """Return the node's name: ``GROOVE_NODE``, or the host's name."""
    return os.environ.get("GROOVE_NODE") or platform.node()


def probe_sandbox() -> JsonObject:
    """Try attacks in a sandboxed child; return whether Python graders can run here, or the reason."""
    command = [sys.executable, "-m", "workers.grading", "probe"]
    unavailable: JsonObject = {"available": False, "layers": [], "remedy": "See docs/sandbox.md."}
    try:
        done = subprocess.run(
            command, cwd=settings.BASE_DIR, capture_output=True, text=True, timeout=PROBE_SECONDS
        )
    except subprocess.TimeoutExpired:
        return unavailable | {"reason": f"The sandbox's probe did not end within {PROBE_SECONDS} s."}
    if done.returncode:
        return unavailable | {"reason": done.stderr[-500:]}
    status: JsonObject = json.loads(done.stdout)
    return status


def read_health() -> NodeHealth:
    """Measure space and load of this machine."""
    settings.WORK_DIR.mkdir(parents=True, exist_ok=True)
    settings.WORK_DIR.chmod(0o700)  # older versions of Groove left it open to other users
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
    psutil.cpu_percent()  # the first call begins the measurement
    versions = {"python": platform.python_version(), "os": platform.platform()}
    versions |= {package: version(package) for package in PACKAGES}
    devices = NodeDevices(cpu_cores=settings.CPU_CORES, gpus=find_gpus())
    nodes.register_node(node_name(), versions, devices, probe_sandbox())
    files.discard_leftovers()
    messages.notify_workers("run_jobs")


def _beat(stop: threading.Event) -> None:
    """Announce this node until that works, then send a heartbeat every third of a lease."""
    act = _announce
    while True:
        try:
            close_old_connections()
            act()
            act = _send_heartbeat
        except DatabaseError as error:
            log.warning("No heartbeat from %s: %s", node_name(), error)
            connection.close()
        if stop.wait(settings.LEASE_SECONDS / 3):
            return


def _send_heartbeat() -> None:
    nodes.record_health(node_name(), {**read_health()})


@worker_ready.connect
def start_heartbeat(**_: Any) -> None:
    """Announce this node and send heartbeats."""
    threading.Thread(target=_beat, args=[threading.Event()], name="node", daemon=True).start()
    child.start_spare_engine()
