"""Episodes of the built-in environments on the tool starter, against plain TRL's ``environment_factory``."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from statistics import fmean, median
from typing import Any

from tests.bench.jobs import cores, groove, plain, write_spec
from tests.bench.result import Result
from tests.bench.scale import sized
from workers.contract.environments import PythonEnvironment
from workers.contract.events import MetricsEvent, parse
from workers.environments import open_backend
from workers.environments.examples import list_examples

MODEL = Path("workers/starter/tool_use/model")
REWARD = {"type": "environment"}
LENGTH = {"type": "python", "source": "def grade(sample, item):\n    return len(sample['output_text'])"}
VARIED = {
    "type": "multi",
    "graders": {"outcome": REWARD, "length": LENGTH},
    "calculate_output": "outcome + 0.001 * length",
}
"""A reward that differs even where the tool starter solves nothing, so that every step trains."""

GRPO: dict[str, Any] = {"learning_rate": 1e-3, "max_completion_length": 192, "checkpoint_every": 10}


def speed() -> Result:
    """Training on the refund desk: same model, tasks, seed, group size and steps on both sides."""
    with tempfile.TemporaryDirectory() as scratch:
        spec = write_environment_spec(Path(scratch), "refund_desk", sized(10, 2), REWARD)
        ratios, notes = [], []
        for number in range(sized(3, 1)):
            theirs = plain(spec, spec.parent / f"plain-{number}", "plain_episodes")
            ours = groove(spec, spec.parent / f"groove-{number}")
            ratios.append(ours.seconds / theirs.seconds)
            rewards = f"mean reward of the last steps {ours.reward:.2f} against {theirs.reward:.2f}"
            notes.append(f"{ours.seconds:.1f} s against {theirs.seconds:.1f} s, {rewards}")
    return Result(
        benchmark="episode_speed",
        value=round(median(ratios), 3),
        unit="ratio of training wall times, Groove / plain TRL",
        goal=0.5,
        runs=[round(ratio, 3) for ratio in ratios],
        note=f"{cores()} threads; " + "; ".join(notes),
    )


def share() -> Result:
    """Time in the environment as a share of the step, the largest of the built-in environments."""
    shares = {}
    for example in list_examples():
        with tempfile.TemporaryDirectory() as scratch:
            spec = write_environment_spec(Path(scratch), example.key, sized(4, 2), VARIED)
            groove(spec, spec.parent / "out")
            shares[example.key] = read_share(spec.parent / "out")
    return Result(
        benchmark="env_share",
        value=round(max(shares.values()), 4),
        unit="share of a step's seconds",
        goal=0.1,
        runs=[round(value, 4) for value in shares.values()],
        note=f"{cores()} threads, tool starter; {', '.join(shares)}",
    )


def read_share(out: Path) -> float:
    """Return the environment's share of the training steps of a finished job."""
    events = [parse(line) for line in (out / "events.jsonl").read_text().splitlines()]
    steps = [event.values for event in events if isinstance(event, MetricsEvent)]
    return fmean(values["time/environment"] / values["step_time"] for values in steps)


def write_environment_spec(folder: Path, name: str, steps: int, grader: dict[str, Any]) -> Path:
    """Write a job whose rows are tasks of a built-in environment, 64 episodes a step."""
    source = next(example.source for example in list_examples() if example.key == name)
    environment = PythonEnvironment(source=source)
    with open_backend(environment) as backend:
        tasks = backend.list_tasks("train")[: 8 * steps + 1]
        system, tools = backend.system_prompt, backend.list_tools()
        sessions = backend.open_sessions(tasks)
        rows = [(task, getattr(session, "prompt", "")) for task, session in zip(tasks, sessions, strict=True)]
    made = [
        {
            "messages": [{"role": "system", "content": system}, {"role": "user", "content": prompt}],
            "tools": tools,
            "item": task,
        }
        for task, prompt in rows
    ]
    path = write_spec(folder, MODEL, made, grader, **GRPO, max_steps=steps, max_prompt_length=2048)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"environment": environment.model_dump()}))
    return path
