"""Division of a step's rollouts into passes through the model: their rows, weights and merged metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

Batch = Mapping[str, Any]
"""A batch of TRL: tensors by name, one row per rollout, and a few numbers."""


def plan_passes(groups: Sequence[Sequence[int]], lengths: Sequence[int], most: int) -> list[list[int]]:
    """Return the rows of each pass, at most ``most`` tokens; a longer row is a pass of its own.

    ``groups`` hold the rows of one prompt each, ``lengths`` the tokens of every row, prompt included. A group
    is split only if it does not fit. Groups of similar length share a pass, which keeps padding small.
    """
    passes: list[list[int]] = []
    width = 0
    for group in sorted(groups, key=lambda group: max(lengths[row] for row in group), reverse=True):
        size = max(1, most // max(lengths[row] for row in group))
        for first in range(0, len(group), size):
            piece = group[first : first + size]
            longest = max(lengths[row] for row in piece)
            if passes and (len(passes[-1]) + len(piece)) * max(width, longest) <= most:
                passes[-1] += piece
                width = max(width, longest)
            else:
                passes.append(list(piece))
                width = longest
    return passes


def loss_weight(loss_type: str, rows: int, of_rows: int, tokens: float, of_tokens: float) -> float:
    """Return the weight of one pass's loss, such that the weighted sum is the loss of a single pass.

    TRL normalises ``dapo`` by the step's tokens already. ``bnpo`` is a mean over the pass's tokens, the other
    losses are means over its rows.
    """
    if loss_type == "dapo":
        return 1.0
    return tokens / max(of_tokens, 1.0) if loss_type == "bnpo" else rows / of_rows


def loss_mask(inputs: Batch) -> torch.Tensor:
    """Return (rows, completion tokens): 1 for tokens that the model wrote and that are trained on."""
    mask: torch.Tensor = inputs["completion_mask"]
    return mask * inputs["tool_mask"] if "tool_mask" in inputs else mask


def select(inputs: Batch, rows: list[int]) -> Batch:
    """Return these rows of a batch, without columns that are padding in all of them."""
    count = len(inputs["completion_mask"])
    part = {
        name: value[rows]
        if isinstance(value, torch.Tensor) and value.dim() and len(value) == count
        else value
        for name, value in inputs.items()
    }
    wide = inputs["completion_mask"].size(1)
    longest = max(1, int(part["completion_mask"].sum(1).max()))
    prompt = int(part["prompt_mask"].sum(1).max())
    for name, value in part.items():
        if name.startswith("prompt_"):
            part[name] = value[:, value.size(1) - prompt :]
        elif isinstance(value, torch.Tensor) and value.dim() == 2 and value.size(1) == wide:
            part[name] = value[:, :longest]
    return part


def find_first_of_each(groups: list[int]) -> list[int]:
    """Return the ascending indices at which each group appears first."""
    return sorted({group: index for index, group in reversed(list(enumerate(groups)))}.values())


def merge_values(name: str, values: list[float], tokens: list[float]) -> float:
    """Return the minimum, maximum or mean over tokens of the passes' values, by the metric's name."""
    known = [(value, weight) for value, weight in zip(values, tokens, strict=True) if weight]
    if name.endswith(("_min", "_max")):
        return (min if name.endswith("_min") else max)(value for value, _ in known)
    return sum(value * weight for value, weight in known) / sum(weight for _, weight in known)
