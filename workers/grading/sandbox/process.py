"""The host's side of the zygote and of the processes that it forks. Everything they send is untrusted."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from importlib import resources

from workers.grading.results import Limits
from workers.grading.sandbox import walls
from workers.grading.sandbox.cgroup import new_cgroup

START_SECONDS = 30.0
CHUNK_BYTES = 1 << 16
STDERR_CHARACTERS = 500
PLAIN_LENGTH = 2  # of a plain reward: [reward, seconds]
Reply = dict[str, object] | list[object]
HEADER = struct.Struct("<I")

# The files are passed as text, so that nothing of the checkout need be readable inside.
# A program takes the place of worker.py, from which it may import.
_BOOT = """
import json, sys, types
WORKER = "workers.grading.sandbox.worker"
parts = {}
for name, text in zip(("jail", "worker", "zygote", "sample", "program"), sys.argv[1:-1]):
    parts[name] = {"__name__": "__main__"}
    exec(compile(text, f"<{name}>", "exec"), parts[name])
    sys.modules[WORKER] = types.SimpleNamespace(**parts.get("worker", {}))
del sys.modules[WORKER]
config = json.loads(sys.argv[-1]) | {"sample_of": parts["sample"]["sample_fields"]}
parts["zygote"]["main"](config, parts["jail"], parts.get("program") or parts["worker"])
"""


class StartFailed(Exception):
    """No process could be started behind this wall."""


class Broken(Exception):
    """The process died, hung or sent an invalid reply; it cannot be used any more. The message says which."""


class Zygote:
    """A warm interpreter behind the outer wall that forks locked-in processes.

    Raises ``StartFailed``. ``spawner`` starts it: it is killed when the thread that started it ends, so that
    thread must live as long as its user. Its processes run ``program``, the text of a module with the
    ``main`` of ``worker.py``; the default is ``worker.py`` itself.
    """

    def __init__(
        self,
        wall: walls.Wall,
        limits: Limits,
        warm: Iterable[str],
        spawner: Executor,
        program: str | None = None,
    ) -> None:
        self._wall, self._limits = wall, limits
        self._host, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = _build_command(wall, limits, warm, theirs.fileno(), program)
        try:
            with theirs:
                self._cgroup = new_cgroup(limits)
                started = self._cgroup.command(command) if self._cgroup else command
                self._process = spawner.submit(_spawn, started, theirs.fileno()).result()
        except OSError as error:
            self._host.close()
            raise StartFailed(f"{command[0]}: {error.strerror or error}") from error
        self._host.settimeout(START_SECONDS)
        try:
            self._receive()
        except (OSError, ValueError) as error:
            raise StartFailed(f"{wall.name}: {self.close() or error}") from error

    @property
    def layers(self) -> list[str]:
        """The layers around its processes, besides the ones they set up themselves."""
        outer = [] if self._wall is walls.INNER_ONLY else [self._wall.name]
        return outer + (["cgroup"] if self._cgroup else [])

    def fork(self) -> Process:
        """Return a fresh process. Raises ``StartFailed``."""
        requests_end, requests = os.pipe()
        replies, replies_end = os.pipe()
        try:
            socket.send_fds(self._host, [b'{"fork": true}'], [requests_end, replies_end])
            return Process(self, int(self._receive()), requests, replies, self._limits.reply_bytes)
        except (OSError, ValueError) as error:
            os.close(requests)
            os.close(replies)
            raise StartFailed(f"the sandbox's zygote is gone: {error}") from error
        finally:
            os.close(requests_end)
            os.close(replies_end)

    def end(self, number: int) -> int | None:
        """End a process and return its exit code; ``None`` if the zygote itself is gone."""
        try:
            self._host.send(json.dumps({"end": number}).encode())
            return int(self._receive())
        except (OSError, ValueError):
            return None

    def _receive(self) -> str:
        message = self._host.recv(CHUNK_BYTES)
        if not message:
            raise OSError("it closed its socket")
        return str(json.loads(message))

    def close(self) -> str:
        """Kill it with all its processes. Returns its standard error from before it was locked in."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._cgroup:
            self._cgroup.remove()
        self._host.close()
        assert self._process.stderr is not None
        with self._process.stderr as stderr:
            os.set_blocking(stderr.fileno(), False)
            text = (stderr.read() or b"").decode(errors="replace").strip()
        return text[-STDERR_CHARACTERS:]


class Process:
    """A locked-in process and its two non-blocking pipes."""

    def __init__(self, zygote: Zygote, number: int, requests: int, replies: int, most_bytes: int) -> None:
        self._zygote, self._number, self._most_bytes = zygote, number, most_bytes
        self._requests, self._replies = requests, replies
        os.set_blocking(requests, False)
        os.set_blocking(replies, False)
        self._unsent = bytearray()
        self._unread = bytearray()
        self._open = True

    def fileno(self) -> int:
        """Return the pipe of replies, to wait for."""
        return self._replies

    @property
    def requests(self) -> int:
        """The pipe of requests, to wait for while something is ``unsent``."""
        return self._requests

    @property
    def unsent(self) -> bool:
        return bool(self._unsent)

    def send(self, frame: bytes) -> None:
        """Queue a frame and send what fits into the pipe. Raises ``Broken`` if the process is gone."""
        self._unsent += HEADER.pack(len(frame)) + frame
        self.push()

    def push(self) -> None:
        """Send more of the queued frames."""
        try:
            while self._unsent:
                del self._unsent[: os.write(self._requests, self._unsent[:CHUNK_BYTES])]
        except BlockingIOError:
            return
        except BrokenPipeError as error:
            raise self._build_death() from error

    def replies(self) -> Iterator[Reply]:
        """Yield the replies that have arrived. Raises ``Broken`` at the first invalid one."""
        ended = self._fill()
        frames = []
        try:
            while (frame := self._read_frame()) is not None:
                frames.append(frame)
        except Broken:
            yield from map(_parse_reply, frames)
            raise
        yield from _parse_replies(frames)
        if ended:
            raise self._build_death()

    def _fill(self) -> bool:
        """Read what has arrived. Return True if the other end is closed."""
        try:
            while chunk := os.read(self._replies, CHUNK_BYTES):
                self._unread += chunk
                if len(chunk) < CHUNK_BYTES:
                    return False
        except BlockingIOError:
            return False
        return True

    def _read_frame(self) -> bytes | None:
        if len(self._unread) < HEADER.size:
            return None
        (size,) = HEADER.unpack_from(self._unread)
        if size > self._most_bytes:
            raise Broken(f"the process sent a reply of {size} bytes; the limit is {self._most_bytes}")
        end = HEADER.size + size
        if len(self._unread) < end:
            return None
        frame = bytes(self._unread[HEADER.size : end])
        del self._unread[:end]
        return frame

    def receive(self, seconds: float) -> Reply:
        """Wait for one reply. Raises ``Broken``."""
        deadline = time.monotonic() + seconds
        poll = select.poll()
        poll.register(self, select.POLLIN)
        while True:
            if (frame := self._read_frame()) is not None:
                return _parse_reply(frame)
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise Broken(HUNG)
            if self._fill() and len(self._unread) < HEADER.size:
                raise self._build_death()

    def _build_death(self) -> Broken:
        return Broken(f"the process ended ({_describe_end(self.close())})")

    def close(self) -> int | None:
        """End the process and return its exit code; ``None`` if it is unknown, or if it was closed before."""
        if not self._open:
            return None
        self._open = False
        os.close(self._requests)
        os.close(self._replies)
        return self._zygote.end(self._number)


HUNG = "the process did not answer in time and was killed"


def _parse_reply(frame: bytes) -> Reply:
    try:
        reply = json.loads(frame)
    except (ValueError, RecursionError) as error:
        raise Broken("the process sent a reply that is not JSON") from error
    if not _is_reply(reply):
        raise Broken("the process sent a reply in no known form")
    known: Reply = reply
    return known


def _parse_replies(frames: list[bytes]) -> Iterable[Reply]:
    """Parse many replies at once, which is faster; one by one if any of them is invalid."""
    try:
        replies = json.loads(b"[" + b",".join(frames) + b"]")
    except (ValueError, RecursionError):
        replies = []
    if len(replies) == len(frames) and all(map(_is_reply, replies)):
        return list(replies)
    return map(_parse_reply, frames)


def _is_reply(value: object) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and len(value) == PLAIN_LENGTH)


def _build_command(
    wall: walls.Wall, limits: Limits, warm: Iterable[str], host: int, program: str | None
) -> list[str]:
    config = {
        "host": host,
        "namespaces": wall.namespaces,
        "readable": walls.readable(),
        "path": walls.module_path(),
        "limits": vars(limits),
        "warm": list(warm),
    }
    here, above = resources.files("workers.grading.sandbox"), resources.files("workers.grading")
    sources = [here.joinpath(f"{name}.py").read_text() for name in ("jail", "worker", "zygote")]
    sources += [above.joinpath("sample.py").read_text(), *([program] if program else [])]
    python = [walls.interpreter(), *walls.PYTHON_FLAGS, "-c", _BOOT]
    return [*wall.prefix, *python, *sources, json.dumps(config)]


def _spawn(command: list[str], host: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        pass_fds=[host],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=walls.ENVIRONMENT,
        cwd="/",
        start_new_session=True,
    )


def _describe_end(code: int | None) -> str:
    if code is None:
        return "its sandbox is gone"
    if code < 0 and -code in set(signal.Signals):
        return f"signal {signal.Signals(-code).name}"
    return f"exit status {code}"
