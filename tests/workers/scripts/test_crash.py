"""``make crash`` still runs: a small form of it, with one disturbance of each kind."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

OWN_SERVICES = {"DATABASE_URL", "BROKER_URL", "GROOVE_VAR", "STORAGE_URL", "GROOVE_WORK"}


@pytest.mark.timeout(900)  # the script itself gives up on a job without progress
def test_a_disturbed_job_ends_as_an_undisturbed_one() -> None:
    environment = {k: v for k, v in os.environ.items() if k not in OWN_SERVICES and "XDIST" not in k}
    command = [sys.executable, "-m", "tests.crash", "--times", "5", "--steps", "20"]
    done = subprocess.run(command, cwd=ROOT, env=environment)  # pytest shows its output with a failure
    assert done.returncode == 0
