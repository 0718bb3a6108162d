"""``make crash`` still runs: a small form of it, with one disturbance of each kind."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.conftest import ROOT

OWN_SERVICES = {"DATABASE_URL", "BROKER_URL", "GROOVE_VAR", "STORAGE_URL", "GROOVE_WORK"}


def test_a_disturbed_job_ends_as_an_undisturbed_one() -> None:
    environment = {k: v for k, v in os.environ.items() if k not in OWN_SERVICES and "XDIST" not in k}
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash", "--times", "5", "--steps", "30"],
        cwd=ROOT, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    for part in ("adapter", "metrics", "rollouts", "evaluation"):
        assert f"  {part}: the same" in done.stdout, done.stdout[-3000:] + done.stderr[-1000:]
    assert "disturbances fell on the last step" in done.stdout
