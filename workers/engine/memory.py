"""How many tokens a pass may have on this machine, and what to do when memory runs out.

What a job needs is counted in ``contract.memory``, which the web application reads, too.
"""

from __future__ import annotations

import ctypes
import resource
from contextlib import suppress
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from workers.contract.memory import Shape, Work, cpu_tokens, estimate, least_tokens, shape
from workers.engine.base_model.targets import ALL_LINEAR, find_layers

KIB, GIB = 2**10, 2**30
USABLE = 0.85  # of the free memory; the rest is left to fragmentation


@dataclass(frozen=True)
class MemoryPlan:
    """Tokens of one forward and backward pass, and whether gradient checkpointing is on."""

    tokens: int
    gradient_checkpointing: bool


def shape_of(model: PreTrainedModel) -> Shape:
    """The shape of a loaded model, its weights and layers counted one by one."""
    parameters = list(model.parameters())
    layers = [model.get_submodule(name).weight for name in find_layers(model, ALL_LINEAR)]
    return shape(
        model.config.get_text_config(),
        size=parameters[0].element_size(),
        parameters=sum(each.numel() for each in parameters),
        adapted=sum(sum(weight.shape) for weight in layers),
    )


def plan_memory(model: PreTrainedModel, rank: int, work: Work) -> MemoryPlan:
    """The largest passes that fit what is free.

    On a CPU memory is plenty and checkpointing only costs time. On a GPU checkpointing is turned on when
    without it not even 8 rows would fit.
    """
    if model.device.type == "cpu":
        return MemoryPlan(cpu_tokens(work), False)
    free, _ = torch.cuda.mem_get_info(model.device)
    budget, form = int(free * USABLE), shape_of(model)
    for checkpointing in (False, True):
        tokens = _most_tokens(form, rank, work, budget, checkpointing)
        if tokens >= least_tokens(work) or checkpointing:
            break
    return MemoryPlan(max(tokens, 1), checkpointing)


def _most_tokens(form: Shape, rank: int, work: Work, budget: int, checkpointing: bool) -> int:
    """By halving from a pass of the whole step; 0 if nothing fits. The weights are there already.

    Sampling does not bound a pass: where its cache does not fit, fewer answers are drawn together.
    """
    tokens = work.tokens
    while tokens and estimate(form, rank, work, tokens, checkpointing).training > budget:
        tokens //= 2
    return tokens


def peak() -> dict[str, float]:
    """GiB at most so far: what PyTorch allocated on the device, or, on a CPU, what the process held."""
    if torch.cuda.is_available():
        return {"memory/peak_gib": torch.cuda.max_memory_allocated() / GIB}
    return {"memory/peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB / GIB}


def release() -> None:
    """Gives what PyTorch keeps for later back to the device."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    else:
        release_heap()


def release_heap() -> None:
    """Gives freed memory back to the system, where the C library can: it keeps small tensors' for later.

    Measured after sampling with a folded adapter of 135 M parameters: 450 MiB, beside the pass's 1,480.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether PyTorch, on whichever device, could not get memory."""
    return (
        isinstance(error, torch.OutOfMemoryError | MemoryError)
        or "can't allocate memory" in str(error).lower()
    )
