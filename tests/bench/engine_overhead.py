"""What Groove's engine costs over plain TRL: one GRPO job on the starter model, both ways in turn.

Compared is the wall time of training: in Groove with all metrics, rollouts, events and checkpoints, in the
script with TRL's own log and checkpoints at the same steps. Loading, evaluation and packaging count on
neither side. A pair of runs gives one ratio; the value is the ratio of the medians.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench.result import Result
from workers.events import DoneEvent, parse

STARTER = Path("workers/starter")
STEPS, RUNS, GOAL = 20, 3, 1.05


def run() -> Result:
    groove, plain = [], []
    with tempfile.TemporaryDirectory() as scratch:
        spec = write_spec(Path(scratch))
        for number in range(RUNS):
            plain.append(plain_seconds(spec, Path(scratch) / f"plain-{number}"))
            groove.append(groove_seconds(spec, Path(scratch) / f"groove-{number}"))
    return Result(
        benchmark="engine_overhead",
        value=round(median(groove) / median(plain), 3),
        unit="ratio of training wall times, Groove / plain TRL",
        goal=GOAL,
        runs=[round(g / p, 3) for g, p in zip(groove, plain, strict=True)],
        note=f"{STEPS} steps of 64 rollouts, {cores()} threads; median {median(groove):.1f} s in Groove, "
        f"{median(plain):.1f} s in plain TRL",
    )


def cores() -> int:
    return min(2, len(os.sched_getaffinity(0)))


def write_spec(folder: Path) -> Path:
    """The job: the starter's sample data and grader, no evaluation while it trains."""
    lines = (STARTER / "sample" / "dataset.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    spec: dict[str, Any] = {
        "job_id": "bench",
        "model_name": "bench",
        "base_model": {"id": "groove/starter", "path": str((STARTER / "model").resolve())},
        "dataset": {
            "sha256": "0" * 64,
            "train": write_split(folder, "train", rows[:800]),
            "test": write_split(folder, "test", rows[800:801]),
        },
        "grader": json.loads((STARTER / "sample" / "grader.json").read_text()),
        "grader_sha256": "0" * 64,
        "grpo": {
            "learning_rate": 1e-3,
            "max_completion_length": 48,
            "max_steps": STEPS,
            "checkpoint_every": STEPS // 2,
        },
        "evaluation": {"every": 0, "samples_per_row": 1, "bootstrap_resamples": 100},
        "resources": {"cpu_cores": cores()},
        "seed": 1,
    }
    path = folder / "spec.json"
    path.write_text(json.dumps(spec))
    return path


def write_split(folder: Path, name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    path = folder / f"{name}.jsonl"
    path.write_text(
        "".join(
            json.dumps({"row_id": str(number), "messages": row["messages"], "item": row}) + "\n"
            for number, row in enumerate(rows)
        )
    )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"path": path.name, "sha256": digest, "rows": len(rows)}


def groove_seconds(spec: Path, out: Path) -> float:
    python("workers.engine", "run", spec, "--out", out)
    done = parse((out / "events.jsonl").read_text().splitlines()[-1])
    assert isinstance(done, DoneEvent)
    return done.train_seconds


def plain_seconds(spec: Path, out: Path) -> float:
    output = python("tests.bench.plain_grpo", spec, out)
    return float(json.loads(output.splitlines()[-1])["seconds"])


def python(module: str, *arguments: Path | str) -> str:
    """Runs a module in a fresh process; the threading policy of the engine holds for both sides."""
    environment = os.environ | {
        "OMP_WAIT_POLICY": "PASSIVE",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.run(
        command, check=True, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ).stdout
