"""Item 6: a whole job of the starter model by the engine's command line, its package verified."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench.jobs import STARTER, write_spec
from tests.bench.speed import SIMILARITY
from tests.gpu.engine import finish, start
from tests.gpu.report import Context
from tests.workers.engine_jobs import events_of, of_type


def check(context: Context) -> None:
    """Run the job; the package must reproduce the trainer's log-probabilities in the device's precision."""
    spec, out = write_starter_job(context, steps=context.sized(8, 2)), context.folder / "job"
    status = finish(start(context, spec, out))
    events = events_of(out)
    errors = [event.message for event in of_type(events, "error")]
    context.require(f"The engine ends with status 0: {errors}", status == 0)
    done = of_type(events, "done")
    if not done or done[-1].package is None:
        return
    written = json.loads((out / done[-1].package / "run.json").read_text())
    steps = [event.values for event in of_type(events, "metrics")]
    context.measure(
        train_s=done[-1].train_seconds,
        steps=len(steps),
        step_s=median(values["step_time"] for values in steps),
        logp_gap=median(values["sampling/logp_gap"] for values in steps),
        device=written["device"],
        dtype=written["dtype"],
        package_difference=written["verification"]["difference"],
        package_tolerance=written["verification"]["tolerance"],
    )
    context.require("The job succeeds.", done[-1].outcome == "succeeded")
    context.require("The package is verified.", written["verification"]["ok"])
    expected = (context.device.type, str(context.dtype).removeprefix("torch."))
    context.require(
        f"Device and precision are {expected}.", (written["device"], written["dtype"]) == expected
    )


def write_starter_job(context: Context, steps: int) -> Path:
    """The starter's own rows, graded by likeness: the check needs no sandbox."""
    lines = (STARTER / "sample" / "dataset.jsonl").read_text().splitlines()
    rows: list[dict[str, Any]] = [json.loads(line) for line in lines[: context.sized(129, 9)]]
    for row in rows:
        row["target"] = json.dumps(row["reference"])
    sizes = context.sized(
        {"max_completion_length": 48}, {"max_completion_length": 8, "group_size": 2, "prompts_per_step": 2}
    )
    return write_spec(
        context.folder,
        STARTER / "model",
        rows,
        SIMILARITY,
        device=context.device.type,
        max_steps=steps,
        checkpoint_every=2,
        learning_rate=1e-3,
        **sizes,
    )
