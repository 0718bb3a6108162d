"""What a seeded database says: prompts of the sample project, answers that get better, curves that rise."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any

from webapp.home.sample_project import FOLDER

GROUP = 8
NOISE = 0.04


@dataclass(frozen=True)
class Prompt:
    """A row of the sample with answers of three qualities."""

    row_id: str
    task: str
    text: str
    right: str
    near: str
    broken: str


@cache
def prompts() -> list[Prompt]:
    """The rows of the sample dataset."""
    lines = (FOLDER / "dataset.jsonl").read_text(encoding="utf-8").splitlines()
    return [_prompt(number, json.loads(line)) for number, line in enumerate(lines)]


def _prompt(number: int, row: dict[str, Any]) -> Prompt:
    reference = row["reference"]
    near = reference | dict.fromkeys(list(reference)[:1], "unknown")
    right = json.dumps(reference)
    text = row["messages"][0]["content"]
    return Prompt(f"row-{number}", row["task"], text, right, json.dumps(near), right[: len(right) // 2])


def learned(step: int, total: int) -> float:
    """How far a job has come, from 0 to 1: fast at first, then slower."""
    return 1 - math.exp(-3.0 * step / max(total, 1))


Curve = tuple[str, float, float]
CURVES: tuple[Curve, ...] = (
    ("reward", 0.22, 0.93),
    ("reward_std", 0.31, 0.12),
    ("frac_reward_zero_std", 0.08, 0.41),
    ("rewards/fields/mean", 0.22, 0.93),
    ("rewards/fields/std", 0.31, 0.12),
    ("kl", 0.0, 0.34),
    ("entropy", 1.1, 0.42),
    ("loss", 0.02, 0.004),
    ("grad_norm", 1.4, 0.5),
    ("learning_rate", 0.001, 0.0002),
    ("completions/mean_length", 61.0, 48.0),
    ("completions/min_length", 22.0, 28.0),
    ("completions/max_length", 96.0, 80.0),
    ("completions/clipped_ratio", 0.09, 0.01),
    ("clip_ratio/region_mean", 0.02, 0.05),
    ("sampling/tokens_per_second", 900.0, 1000.0),
    ("step_time", 1.9, 1.6),
    ("grading/seconds", 0.03, 0.03),
    ("grading/error_share", 0.02, 0.0),
    ("num_tokens", 0.0, 900_000.0),
)


def values(step: int, total: int, random: Random) -> dict[str, float]:
    """All numbers of one step."""
    far = learned(step, total)
    return {name: round(_noisy(low + (high - low) * far, random), 5) for name, low, high in CURVES}


def _noisy(value: float, random: Random) -> float:
    return value * (1 + random.gauss(0, NOISE))


@dataclass(frozen=True)
class Answer:
    """One rollout's answer."""

    place: int
    group: int
    prompt: Prompt
    text: str
    reward: float | None
    error: str
    cut: bool


def answers(count: int, far: float, random: Random) -> Iterator[Answer]:
    """The answers of one step, in groups to one prompt each."""
    rows = prompts()
    prompt = rows[0]
    for place in range(count):
        if place % GROUP == 0:
            prompt = rows[int(random.random() * len(rows))]
        yield _answer(place, prompt, far, random.random())


def _answer(place: int, prompt: Prompt, far: float, luck: float) -> Answer:
    """Luck below the share of right answers is right; the unluckiest are cut off or cannot be graded."""
    text, reward, error = prompt.near, 0.55, ""
    if luck < 0.15 + 0.8 * far:
        text, reward = prompt.right, 1.0
    elif luck > 0.999:
        return Answer(place, place // GROUP, prompt, prompt.near, None, "python_grader_runtime_error", False)
    elif luck > 0.96:
        text, reward = prompt.broken, 0.0
    return Answer(place, place // GROUP, prompt, text, reward, error, text is prompt.broken)
