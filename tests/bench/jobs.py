"""The same small GRPO job in Groove's engine and in a plain TRL script, each in a process of its own."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from workers.contract.events import DoneEvent, MetricsEvent, parse

STARTER = Path("workers/starter")
LAST_STEPS = 5


@dataclass(frozen=True)
class Outcome:
    """Duration of a training and the mean reward of its last steps."""

    seconds: float
    reward: float


def cores() -> int:
    return min(2, len(os.sched_getaffinity(0)))


def write_spec(
    folder: Path, model: Path, rows: list[dict[str, Any]], grader: Any, device: str = "cpu", **grpo: Any
) -> Path:
    """A job on ``rows`` without evaluation while it trains; the last row is held out."""
    spec: dict[str, Any] = {
        "job_id": "bench",
        "model_name": "bench",
        "base_model": {"id": "groove/bench", "path": str(model.resolve())},
        "dataset": {
            "sha256": "0" * 64,
            "train": write_split(folder, "train", rows[:-1]),
            "test": write_split(folder, "test", rows[-1:]),
        },
        "grader": grader,
        "grader_sha256": "0" * 64,
        "grpo": grpo,
        "preflight": {"rows": 0},
        "evaluation": {"every": 0, "samples_per_row": 1, "bootstrap_resamples": 100},
        "resources": {"device": device, "gpus": int(device == "cuda"), "cpu_cores": cores()},
        "seed": 1,
    }
    path = folder / "spec.json"
    path.write_text(json.dumps(spec))
    return path


def write_split(folder: Path, name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """A split of ``rows``; one without an ``item`` is its own."""
    path = folder / f"{name}.jsonl"
    lines = [
        {
            "row_id": str(number),
            "messages": row["messages"],
            "item": row.get("item", row),
            "tools": row.get("tools", []),
        }
        for number, row in enumerate(rows)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"path": path.name, "sha256": digest, "rows": len(rows)}


def groove(spec: Path, out: Path) -> Outcome:
    """Training in Groove, with all metrics, rollouts, events and checkpoints."""
    python("workers.engine", "run", spec, "--out", out)
    events = [parse(line) for line in (out / "events.jsonl").read_text().splitlines()]
    done = events[-1]
    assert isinstance(done, DoneEvent)
    rewards = [event.values["reward"] for event in events if isinstance(event, MetricsEvent)]
    return Outcome(done.train_seconds, fmean(rewards[-LAST_STEPS:]))


def plain(spec: Path, out: Path, probe: str = "plain_grpo") -> Outcome:
    """Training by TRL's own trainer at its best settings here, with its own log and checkpoints."""
    said = json.loads(python(f"tests.bench.probes.{probe}", spec, out).splitlines()[-1])
    return Outcome(said["seconds"], fmean(said["rewards"][-LAST_STEPS:]))


def python(module: str, *arguments: Path | str) -> str:
    """Run a module in a new process; the threading policy of the engine applies to both sides."""
    environment = os.environ | {
        "OMP_WAIT_POLICY": "PASSIVE",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.run(
        command, check=True, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ).stdout
