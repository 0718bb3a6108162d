"""Jobs by the engine's command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.gpu.report import Context
from tests.workers.engine_jobs import run_engine

Run = subprocess.Popen[bytes] | int


def start(context: Context, spec: Path, out: Path, resume: Path | None = None) -> Run:
    """Start a job: in its own process on a GPU, in this one (at once, to its end) in the small form."""
    if context.small:
        return run_engine(*arguments(spec, out, resume))
    return start_apart(spec, out, resume)


def start_apart(spec: Path, out: Path, resume: Path | None = None) -> subprocess.Popen[bytes]:
    """Start a job in its own process."""
    return subprocess.Popen([sys.executable, "-m", "tests.gpu.deterministic", *arguments(spec, out, resume)])


def arguments(spec: Path, out: Path, resume: Path | None) -> list[str]:
    """The engine's command line."""
    return ["run", str(spec), "--out", str(out), *(["--resume", str(resume)] if resume else [])]


def finish(run: Run) -> int:
    """Wait for a job; its exit status."""
    return run if isinstance(run, int) else run.wait()
