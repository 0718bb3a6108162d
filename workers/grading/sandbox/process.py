"""One process in the sandbox, seen from outside. Every byte it sends is hostile."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import struct
import subprocess
import time
from concurrent.futures import Executor
from importlib import resources
from typing import Any

from workers.grading.results import GradingUnavailable, Limits
from workers.grading.sandbox import walls

START_SECONDS = 30.0
MAX_REPLY_BYTES = 1 << 18
STDERR_CHARACTERS = 500

# Both files run as they are read here, so nothing of the checkout need be visible inside.
_BOOT = """
import json, sys
jail, worker = {"__name__": "__main__"}, {"__name__": "__main__"}
exec(compile(sys.argv[1], "<jail>", "exec"), jail)
exec(compile(sys.argv[2], "<worker>", "exec"), worker)
worker["main"](json.loads(sys.argv[3]), jail)
"""


class StartFailed(Exception):
    """No process could be started behind this wall."""


class Broken(Exception):
    """The process died, hung or talked nonsense; it cannot be used any longer. The message says which."""


class Hung(Broken):
    """The process did not answer in time."""


class Process:
    """A locked-in interpreter and its two pipes.

    Raises ``StartFailed``, or ``GradingUnavailable`` if the kernel lacks the inner wall. ``spawner`` starts
    it: it is killed when the thread that started it ends, so that thread must live as long as its user.
    """

    def __init__(self, wall: walls.Wall, limits: Limits, spawner: Executor) -> None:
        request_end, self._requests = os.pipe()
        self._replies, reply_end = os.pipe()
        os.set_blocking(self._requests, False)
        os.set_blocking(self._replies, False)
        try:
            command = _command(wall, limits, request_end, reply_end)
            self._child = spawner.submit(_spawn, command, (request_end, reply_end)).result()
        except OSError as error:
            self._close_pipes()
            raise StartFailed(f"{command[0]}: {error.strerror}") from error
        finally:
            os.close(request_end)
            os.close(reply_end)
        self.layers = self._greeting(wall)

    def _greeting(self, wall: walls.Wall) -> list[str]:
        try:
            reply = self.receive(START_SECONDS)
        except Broken as error:
            said = self.close()
            raise StartFailed(f"{wall.name}: {said or error}") from error
        if "unavailable" in reply:
            self.close()
            raise GradingUnavailable(*reply["unavailable"])
        return [wall.name, *reply["layers"]] if wall is not walls.INNER_ONLY else list(reply["layers"])

    def send(self, request: dict[str, Any], seconds: float) -> None:
        """Raises ``Broken`` if the process does not read it in time."""
        data = json.dumps(request).encode()
        frame = memoryview(struct.pack("<I", len(data)) + data)
        deadline = time.monotonic() + seconds
        while frame:
            self._wait(self._requests, select.POLLOUT, deadline)
            try:
                frame = frame[os.write(self._requests, frame) :]
            except BrokenPipeError as error:
                raise self._died() from error

    def receive(self, seconds: float) -> dict[str, Any]:
        """The next frame, a JSON object. Raises ``Broken``."""
        deadline = time.monotonic() + seconds
        (size,) = struct.unpack("<I", self._read(4, deadline))
        if size > MAX_REPLY_BYTES:
            raise Broken(f"the grader's process sent a reply of {size} bytes; the limit is {MAX_REPLY_BYTES}")
        try:
            reply = json.loads(self._read(size, deadline))
        except (ValueError, RecursionError) as error:
            raise Broken("the grader's process sent a reply that is not JSON") from error
        if not isinstance(reply, dict):
            raise Broken("the grader's process sent a reply that is no JSON object")
        return reply

    def _read(self, size: int, deadline: float) -> bytes:
        data = b""
        while len(data) < size:
            self._wait(self._replies, select.POLLIN, deadline)
            chunk = os.read(self._replies, size - len(data))
            if not chunk:
                raise self._died()
            data += chunk
        return data

    def _wait(self, descriptor: int, event: int, deadline: float) -> None:
        poll = select.poll()
        poll.register(descriptor, event)
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise Hung("the grader's process did not answer in time and was killed")

    def _died(self) -> Broken:
        try:
            code = self._child.wait(timeout=1)
        except subprocess.TimeoutExpired:
            return Broken("the grader's process closed its pipe")
        return Broken(f"the grader's process ended ({_ending(code)})")

    def close(self) -> str:
        """Kills the process. Returns what it said on standard error before it was locked in."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()
        self._close_pipes()
        assert self._child.stderr is not None
        with self._child.stderr as stderr:
            os.set_blocking(stderr.fileno(), False)
            said = (stderr.read() or b"").decode(errors="replace").strip()
        return said[-STDERR_CHARACTERS:]

    def _close_pipes(self) -> None:
        os.close(self._requests)
        os.close(self._replies)


def _command(wall: walls.Wall, limits: Limits, requests: int, replies: int) -> list[str]:
    config = {
        "requests": requests,
        "replies": replies,
        "namespaces": wall.namespaces,
        "readable": walls.readable(),
        "path": walls.module_path(),
        "limits": vars(limits),
    }
    here = resources.files("workers.grading.sandbox")
    sources = [here.joinpath(name).read_text() for name in ("jail.py", "worker.py")]
    python = [walls.interpreter(), *walls.PYTHON_FLAGS, "-c", _BOOT]
    return [*wall.prefix, *python, *sources, json.dumps(config)]


def _spawn(command: list[str], descriptors: tuple[int, int]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        pass_fds=descriptors,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=walls.ENVIRONMENT,
        cwd="/",
        start_new_session=True,
    )


def _ending(code: int) -> str:
    """How a process ended; bubblewrap passes a signal on as 128 plus its number."""
    number = -code if code < 0 else code - 128
    if number in set(signal.Signals):
        return f"signal {signal.Signals(number).name}"
    return f"exit status {code}"
