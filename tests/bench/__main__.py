"""Runs benchmarks: ``python -m tests.bench [--only NAME]``.

Prints one JSON object a line for each and appends the same lines to ``var/bench.jsonl``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.bench import (
    browsing,
    environments,
    episodes,
    grading_share,
    judge_concurrency,
    latency,
    pages,
    sandbox,
    speed,
)
from tests.bench.api import api_reads, api_schema, gateway, interactions, serving
from tests.bench.result import Result
from tests.bench.scale import SMALL

RESULTS = Path("var/bench.jsonl")
BENCHMARKS: dict[str, Callable[[], Result]] = {
    "job_speed_starter": speed.starter,
    "job_speed_100m": speed.medium,
    "long_prompt_speed": speed.long_prompts,
    "rollout_speed": speed.rollouts,
    "memory_estimate_error": speed.memory,
    "event_overhead": speed.events,
    "first_step_latency": latency.first_step,
    "sandbox_throughput": sandbox.throughput,
    "sandbox_overhead": sandbox.overhead,
    "sandbox_real_ratio": sandbox.real_ratio,
    "sandbox_start": sandbox.start,
    "grading_share": grading_share.run,
    "env_call": environments.call,
    "env_throughput": environments.throughput,
    "episode_speed": episodes.speed,
    "env_share": episodes.share,
    "judge_concurrency": judge_concurrency.run,
    "api_schema": api_schema.run,
    "api_p95": api_reads.api_p95,
    "gateway_overhead": gateway.overhead,
    "gateway_overhead_p95": gateway.overhead_p95,
    "streams": gateway.streams,
    "serve_throughput": serving.throughput,
    "serve_speedup": serving.speedup,
    "adapter_mix": serving.adapter_mix,
    "first_token": serving.first_token,
    "page_p95": pages.page_p95,
    "rollout_filter": pages.rollout_filter,
    "chart_draw": browsing.chart_draw,
    "metric_latency": browsing.metric_latency,
    "interaction_write": interactions.write,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--only", choices=BENCHMARKS, metavar="NAME", help=", ".join(BENCHMARKS))
    only = parser.parse_args().only
    if only is None:  # each in a process of its own: Django and torch are set up once a process
        for name in BENCHMARKS:
            subprocess.run([sys.executable, "-m", "tests.bench", "--only", name], check=True)
        return
    line = json.dumps(BENCHMARKS[only]().as_dict())
    print(line, flush=True)
    if not SMALL:
        RESULTS.parent.mkdir(exist_ok=True)
        with RESULTS.open("a") as file:
            file.write(line + "\n")


if __name__ == "__main__":
    main()
