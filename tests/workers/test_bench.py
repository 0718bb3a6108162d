"""Every benchmark still runs; how fast, only ``make bench`` says."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from tests.bench.__main__ import BENCHMARKS
from tests.conftest import ROOT

OWN_SERVICES = {"DATABASE_URL", "BROKER_URL", "GROOVE_VAR", "STORAGE_URL", "GROOVE_WORK"}


def test_every_benchmark_runs_and_reports_a_figure() -> None:
    environment = {k: v for k, v in os.environ.items() if k not in OWN_SERVICES and "XDIST" not in k}
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench"], cwd=ROOT, env=environment | {"BENCH_SMALL": "1"},
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [line["benchmark"] for line in lines] == list(BENCHMARKS), done.stdout[-2000:]
    assert all(line["runs"] and line["unit"] for line in lines)
    assert done.returncode == 0
