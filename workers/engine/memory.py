"""How many rollouts go through the model at once, and whether activations are computed twice."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import PretrainedConfig

MOST_ROWS = 64
LAYER_BYTES = 34  # of activations a token and hidden unit, a layer in 16 bits: arXiv 2205.05198, eq. 1
CHECKPOINT_BYTES = 2  # only the layer's input is kept
USABLE = 0.5  # of the free memory: the estimate leaves out the adapter, the optimizer and fragmentation


@dataclass(frozen=True)
class MemoryPlan:
    """Rows of one forward and backward pass, and whether gradient checkpointing is on."""

    micro_batch: int
    gradient_checkpointing: bool


def plan_memory(rollouts: int, tokens: int, config: PretrainedConfig, device: torch.device) -> MemoryPlan:
    """The largest micro-batch that divides ``rollouts`` and fits, at ``tokens`` a row.

    On a CPU memory is plenty and checkpointing only costs time. On a GPU it is turned on when without it not
    even 8 rows would fit.
    """
    sizes = [size for size in range(min(rollouts, MOST_ROWS), 0, -1) if rollouts % size == 0]
    if device.type == "cpu":
        return MemoryPlan(sizes[0], False)
    free, _ = torch.cuda.mem_get_info(device)
    return fit(sizes, tokens, config.get_text_config(), int(free * USABLE))


def fit(sizes: list[int], tokens: int, config: PretrainedConfig, budget: int) -> MemoryPlan:
    """The plan for ``budget`` bytes; ``sizes`` falls."""
    unit = tokens * config.hidden_size
    for size in sizes:
        if size >= min(8, sizes[0]) and size * unit * config.num_hidden_layers * LAYER_BYTES <= budget:
            return MemoryPlan(size, False)
    for size in sizes:
        kept = config.num_hidden_layers * CHECKPOINT_BYTES + LAYER_BYTES
        if size * unit * kept <= budget:
            return MemoryPlan(size, True)
    return MemoryPlan(1, True)
