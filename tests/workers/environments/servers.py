"""Servers of environments, each from its own package in an environment of its own; and a proxy that cuts."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PACKAGES = Path(sys.prefix) / "environment-servers"


@contextmanager
def run_server(script: str, **variables: str) -> Iterator[str]:
    """Run a script beside this file with its own packages alone. Yields the server's URL."""
    assert (PACKAGES / ".locked").exists(), f"{PACKAGES} is missing: run make clients"
    values = {"PYTHONPATH": str(PACKAGES), "PATH": os.environ["PATH"], **variables}
    command = [sys.executable, "-S", str(Path(__file__).with_name(script))]
    with subprocess.Popen(command, env=values, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


@contextmanager
def run_proxy(url: str, begin: bytes = b"-", times: int = 0) -> Iterator[str]:
    """Yield the URL of a proxy. It breaks off answers before ``begin`` so many times, and all in the end."""
    port, left = int(url.rpartition(":")[2]), [times]
    sockets: list[socket.socket] = []

    def forward(source: socket.socket, target: socket.socket, answer: bool) -> None:
        with suppress(OSError):
            while part := source.recv(65536):
                cut = answer and left[0] and begin in part
                target.sendall(part.partition(begin)[0] if cut else part)
                if cut:
                    left[0] -= 1
                    break
        close(source, target)

    def close(*ended: socket.socket) -> None:
        for each in ended:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", port))
                sockets.extend((client, server))
                for pair in ((client, server, False), (server, client, True)):
                    threading.Thread(target=forward, args=pair, daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        close(listener, *sockets)
