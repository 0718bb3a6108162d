"""Model servers on this node: start the process, load adapters, stop it when it is idle."""

from __future__ import annotations

import json
import logging
import secrets
import subprocess
import threading
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx2
from celery.signals import worker_shutting_down
from django.conf import settings
from django.db import DatabaseError, connection
from django.utils import timezone

from webapp.serving import servers
from webapp.serving.models import ModelServer, ServedAdapter
from webapp.serving.queues import SERVERS, claim_server
from webapp.work.errors import LeaseLost, WorkFailed
from workers.bridge import child, nodes
from workers.bridge.adapters import fetch_adapter
from workers.bridge.jobs.files import local_ref
from workers.bridge.running import run_claimed
from workers.contract.base_models.arguments import write_arguments
from workers.contract.devices import GivenDevices

log = logging.getLogger(__name__)
START_SECONDS = 600
WATCH_SECONDS = 0.4
LOOK_SECONDS = 1.0  # between looks at the load of a server
REQUEST_SECONDS = 60
DRAINING = threading.Event()
HELD: list[int] = []  # rows of servers that work of this process uses, once for each use


def drain(**_: object) -> None:
    """Hand this worker's servers to other workers."""
    DRAINING.set()


worker_shutting_down.connect(drain)


def serve_model(server_id: int) -> None:
    """Serve a queued model on this node, in a thread of its own; Celery's threads are for shorter work."""
    if not DRAINING.is_set() and (server := claim_server(server_id, nodes.node_name())):
        threading.Thread(target=_run, args=[server], name=f"server {server.uid}").start()


def _run(server: ModelServer) -> None:
    try:
        run_claimed(SERVERS, server, _serve)
        if DRAINING.is_set():
            servers.release_server(server)
    finally:
        connection.close()


def _serve(server: ModelServer, folder: Path, lost: threading.Event) -> None:
    token, log_file = secrets.token_urlsafe(32), folder / "serve.log"
    base = server.base_model
    arguments = ["workers.serve", "--name", base.model_id, "--host", settings.SERVE_HOST]
    arguments += write_arguments(local_ref(base), folder / "rendering.json")
    devices = GivenDevices(cpu_cores=settings.SERVE_CORES)
    with child.start_child(arguments, devices, log_file, {"--token-fd": token.encode()}) as process:
        port = _wait_for_port(process, log_file, lost)
        url = f"http://{settings.SERVE_HOST}:{port}/v1"
        SERVERS.renew(server, url=url, token=token, last_used_at=timezone.now())
        headers = {"Authorization": f"Bearer {token}"}
        with httpx2.Client(base_url=url, headers=headers, timeout=REQUEST_SECONDS, trust_env=False) as client:
            Watch(server, process, client, folder, lost).run()


def _wait_for_port(process: subprocess.Popen[bytes], log_file: Path, lost: threading.Event) -> int:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if (port := read_port(log_file)) is not None:
            return port
        if lost.wait(WATCH_SECONDS) or DRAINING.is_set():
            raise LeaseLost
    raise WorkFailed(
        f"The model could not be loaded: {child.read_tail(log_file)[-500:]}",
        "Inspect the base model under Models, Base models, or use a worker with more memory.",
    )


def read_port(log_file: Path) -> int | None:
    """Return the port, which the server prints once it is ready; None before."""
    for line in child.read_tail(log_file).splitlines():
        if line.startswith('{"port"'):
            return int(json.loads(line)["port"])
    return None


@dataclass
class Watch:
    """Follows one server process until it ends, is stopped, or is idle."""

    server: ModelServer
    process: subprocess.Popen[bytes]
    client: httpx2.Client
    folder: Path
    lost: threading.Event
    looked: float = 0.0

    def run(self) -> None:
        """Return once the attempt has ended. Raises LeaseLost if somebody stopped it, or the worker stops."""
        _discard_unused(self.server)
        while self.process.poll() is None:
            if self.lost.wait(WATCH_SECONDS) or self._is_drained():
                raise LeaseLost
            try:
                if self._step():
                    return
            except DatabaseError as error:  # the lease decides whether it was away too long
                log.warning("%s: %s", self.server, error)
                connection.close()
        detail = f"Exit status {self.process.returncode}: {child.read_tail(self.folder / 'serve.log')[-800:]}"
        SERVERS.crash(self.server, detail)

    def _is_drained(self) -> bool:
        """Return True if the worker stops, and none of its work holds the server any more."""
        return DRAINING.is_set() and self.server.pk not in HELD

    def _step(self) -> bool:
        """Load adapters, and stop an idle server. Return True if it was stopped."""
        if not ModelServer.objects.filter(
            pk=self.server.pk, attempt=self.server.attempt, state=ModelServer.State.RUNNING
        ).exists():
            raise LeaseLost
        for wanted in servers.list_missing_adapters(self.server):
            self._load(wanted)
        if time.monotonic() < self.looked + LOOK_SECONDS:
            return False
        self.looked = time.monotonic()
        if self._is_busy():
            ModelServer.objects.filter(pk=self.server.pk).update(last_used_at=timezone.now())
        return servers.stop_if_idle(self.server)

    def _load(self, wanted: ServedAdapter) -> None:
        values: dict[str, object] = {"loaded_attempt": self.server.attempt}
        try:
            self._send(wanted.sha256, fetch_adapter(wanted, self.folder / "adapters"))
        except (WorkFailed, httpx2.HTTPError) as error:
            log.warning("%s was not loaded: %s", wanted, error)
            values = {"error": f"{error}"[:500]}
        ServedAdapter.objects.filter(pk=wanted.pk).update(changed_at=timezone.now(), **values)

    def _send(self, name: str, folder: Path) -> None:
        """Have the server load an adapter; it forgets those that it did not use for the longest time."""
        body = {"lora_name": name, "lora_path": str(folder), "load_inplace": True}
        answer = self.client.post("/load_lora_adapter", json=body)
        if answer.is_error:
            raise WorkFailed(f"The model server answered {answer.status_code}: {answer.text[:300]}")

    def _is_busy(self) -> bool:
        """Return True if completions are open."""
        try:
            return bool(self.client.get(self.client.base_url.join("/healthz")).json().get("open_rows"))
        except (httpx2.HTTPError, ValueError):
            return False


def _discard_unused(server: ModelServer) -> None:
    """Forget adapters that nobody has used lately, so that a new process does not load them."""
    before = timezone.now() - timedelta(seconds=settings.SERVE_IDLE_SECONDS)
    server.adapters.filter(last_used_at__lt=before).delete()
