"""Share of grading in a training step of the sample job, relative to the rest of the step."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from statistics import median

from tests.bench.jobs import groove
from tests.bench.result import Result
from tests.bench.scale import sized
from tests.bench.speed import starter_spec
from workers.contract.events import MetricsEvent, parse

GOAL = 0.03


def run() -> Result:
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "out"
        groove(starter_spec(Path(scratch), steps=sized(20, 2)), out)
        events = [parse(line) for line in (out / "events.jsonl").read_text().splitlines()]
        grader = json.loads((Path(scratch) / "spec.json").read_text())["grader"]["type"]
    steps = [event.values for event in events if isinstance(event, MetricsEvent)]
    shares = [step["time/grading"] / (step["step_time"] - step["time/grading"]) for step in steps]
    return Result(
        benchmark="grading_share",
        value=round(max(shares[1:]), 4),
        unit="the longest grading of a step / the rest of that step",
        goal=GOAL,
        runs=[round(share, 4) for share in shares],
        note=f"{grader} grader, {len(steps)} steps; the first, which starts the sandbox, is shown and not "
        f"counted; median {median(shares):.4f}",
    )
