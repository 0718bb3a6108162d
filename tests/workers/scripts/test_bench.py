"""One benchmark of each family runs; ``make bench`` measures all of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

OWN_SERVICES = {"DATABASE_URL", "BROKER_URL", "GROOVE_VAR", "STORAGE_URL", "GROOVE_WORK"}


@pytest.mark.parametrize(
    "benchmark", ["job_speed_starter", "sandbox_start", "judge_concurrency", "rollout_filter"]
)
def test_a_benchmark_runs_and_reports_a_figure(benchmark: str) -> None:
    environment = {k: v for k, v in os.environ.items() if k not in OWN_SERVICES and "XDIST" not in k}
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", "--only", benchmark],
        cwd=ROOT, env=environment | {"BENCH_SMALL": "1"}, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    line = json.loads(done.stdout.splitlines()[-1])
    assert line["benchmark"] == benchmark
    assert line["runs"]
    assert line["unit"]
