"""Verification that a packaged adapter, loaded elsewhere, reproduces the trainer's log-probabilities."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypedDict

import torch
from peft import PeftModel

from workers.engine.base_model import loading

TOLERANCE = {"float32": 1e-3, "bfloat16": 0.25}
"""Largest difference of one token's log-probability, by precision of the weights. In float32 it is the order
of summation (measured: below 1e-5); in bfloat16 one step of a logit near 32 is 0.25."""


class StoredRollout(TypedDict):
    """Token ids of one rollout and the trainer's log-probabilities of its completion tokens."""

    prompt_ids: list[int]
    completion_ids: list[int]
    logprobs: list[float]


class StoredRollouts(TypedDict):
    """Content of ``verification.json``."""

    temperature: float
    dtype: str
    device: str
    rollouts: list[StoredRollout]


class Verdict(TypedDict):
    """``difference`` is the largest over all tokens; ``base_difference`` is that without the adapter."""

    ok: bool
    difference: float
    base_difference: float
    tolerance: float
    tokens: int


def verify(package: Path, base_path: Path, stored_file: Path) -> Verdict:
    """Load base and adapter with transformers and peft only, and compare on the stored rollouts."""
    stored: StoredRollouts = json.loads(stored_file.read_text())
    device = "cuda" if stored["device"] == "cuda" and torch.cuda.is_available() else "cpu"
    base = loading.load_model(base_path.name, base_path, getattr(torch, stored["dtype"]))
    model = PeftModel.from_pretrained(base, package).to(device).eval()
    rollouts = stored["rollouts"]
    tuned = largest_difference(model, rollouts, stored["temperature"])
    with model.disable_adapter():
        untuned = largest_difference(model, rollouts, stored["temperature"])
    tolerance = TOLERANCE[stored["dtype"]]
    tokens = sum(len(rollout["completion_ids"]) for rollout in rollouts)
    return Verdict(
        ok=tuned <= tolerance,
        difference=tuned,
        base_difference=untuned,
        tolerance=tolerance,
        tokens=tokens,
    )


def largest_difference(model: Any, rollouts: list[StoredRollout], temperature: float) -> float:
    """Return the largest difference of one token's log-probability from the stored one."""
    worst = 0.0
    for rollout in rollouts:
        logprobs = completion_logprobs(model, rollout["prompt_ids"], rollout["completion_ids"], temperature)
        worst = max(worst, float((logprobs - torch.tensor(rollout["logprobs"])).abs().max()))
    return worst


@torch.no_grad()
def completion_logprobs(
    model: Any, prompt_ids: list[int], completion_ids: list[int], temperature: float
) -> torch.Tensor:
    """Return log-probabilities (completion tokens,) under softmax(logits / temperature)."""
    ids = torch.tensor([prompt_ids + completion_ids], device=model.device)
    logits = model(input_ids=ids).logits[0, len(prompt_ids) - 1 : -1].float() / temperature
    ids_after = torch.tensor(completion_ids, device=model.device)[:, None]
    logprobs: torch.Tensor = logits.log_softmax(-1).gather(-1, ids_after)[:, 0].cpu()
    return logprobs
