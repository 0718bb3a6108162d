"""What a job needs of memory, estimated before it starts, and how many tokens a pass may have."""

from __future__ import annotations

import resource
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel

from workers.engine.fast.decoder import SHARED_FROM

KIB, GIB = 2**10, 2**30
CPU_TOKENS = 4096  # a pass with more is bound by memory bandwidth, not by arithmetic
USABLE = 0.85  # of the free memory; the rest is left to fragmentation
LOGIT_ROWS = 256  # positions that TRL's fused head projects at once
LEAST_PASS = 8  # rows of full length below which a GPU computes activations twice instead


@dataclass(frozen=True)
class MemoryPlan:
    """Tokens of one forward and backward pass, and whether gradient checkpointing is on."""

    tokens: int
    gradient_checkpointing: bool


@dataclass(frozen=True)
class Estimate:
    """Bytes by purpose, for passes of a given number of tokens. ``total`` is the expected peak."""

    weights: int
    adapter: int
    optimizer: int
    activations: int
    cache: int
    logits: int

    @property
    def total(self) -> int:
        """Sampling and training come in turn: the larger of cache and activations counts."""
        held = self.weights + self.adapter + self.optimizer
        return held + max(self.activations + self.logits, self.cache)

    @property
    def training(self) -> int:
        """What a pass adds to the weights."""
        return self.adapter + self.optimizer + self.activations + self.logits


@dataclass(frozen=True)
class Work:
    """The largest pieces of a job: prompts, answers and rollouts that are in memory together."""

    prompt_tokens: int
    completion_tokens: int
    rollouts: int
    group_size: int
    shares: bool = True

    @property
    def tokens(self) -> int:
        """Tokens of a whole step as they go through the model: a shared prompt counts once a group."""
        copies = self.rollouts // self.group_size if self.shares else self.rollouts
        return copies * self.prompt_tokens + self.rollouts * self.completion_tokens

    @property
    def cached_tokens(self) -> int:
        """Tokens whose keys and values are kept while a step is sampled: a long prompt's once a group."""
        if self.shares and self.prompt_tokens >= SHARED_FROM:
            return self.tokens
        return self.rollouts * (self.prompt_tokens + self.completion_tokens)


def estimate(model: PreTrainedModel, rank: int, work: Work, tokens: int, checkpointing: bool) -> Estimate:
    """The memory of a job on ``model`` with an adapter of ``rank`` and passes of ``tokens`` tokens."""
    config: Any = model.config.get_text_config()
    size = next(model.parameters()).element_size()
    adapter = adapter_parameters(model, rank)
    keys = key_width(config) * 2 * config.num_hidden_layers * size
    tokens = min(tokens, work.tokens)
    back = tokens * 4 * config.intermediate_size * size  # a layer's gradients on the way back
    return Estimate(
        weights=sum(p.numel() * p.element_size() for p in model.parameters()),
        adapter=adapter * 4 * 2,  # float32 values and gradients
        optimizer=adapter * 4 * 2,  # Adam's two moments
        activations=tokens * token_bytes(config, size, checkpointing)
        + _expanded(config, size, work, tokens)
        + back,
        cache=work.cached_tokens * keys + _folded(model, size),
        logits=3 * LOGIT_ROWS * config.vocab_size * 4,
    )


def token_bytes(config: Any, size: int, checkpointing: bool) -> int:
    """Activations that one token leaves for the backward pass, counted over a layer's saved tensors.

    Kept a layer: each norm's input, normalised values and output (6 of the hidden size); queries before and
    after their norm, in attention, its output twice (5); keys and values likewise (6); gate, its activation,
    up and their product (4 of the intermediate size). With checkpointing a layer keeps its input alone, and
    one layer at a time is whole.
    """
    layer: int = size * (
        6 * config.hidden_size
        + 5 * query_width(config)
        + 6 * key_width(config)
        + 4 * config.intermediate_size
    )
    if checkpointing:
        return int(config.num_hidden_layers * config.hidden_size * size + layer)
    return int(config.num_hidden_layers * layer)


def _expanded(config: Any, size: int, work: Work, tokens: int) -> int:
    """The prompt's keys and values, copied beside each completion that attends to them."""
    if not work.shares:
        return 0
    each = work.prompt_tokens + work.group_size * work.completion_tokens
    rows = min(work.rollouts, max(1, tokens // each) * work.group_size)
    layers = config.num_hidden_layers
    return int(rows * (work.prompt_tokens + work.completion_tokens) * 2 * key_width(config) * size * layers)


def _folded(model: PreTrainedModel, size: int) -> int:
    """In float32 sampling runs on a second copy of the projections with the adapter folded in."""
    if size < 4:
        return 0
    head = model.get_output_embeddings().weight.numel()
    return 2 * size * (sum(int(p.numel()) for p in model.parameters()) - int(head))


def key_width(config: Any) -> int:
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    return int(heads * head_width(config))


def query_width(config: Any) -> int:
    return int(config.num_attention_heads * head_width(config))


def head_width(config: Any) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def adapter_parameters(model: PreTrainedModel, rank: int) -> int:
    """Numbers of a LoRA adapter of ``rank`` on every linear layer but the head."""
    head = model.get_output_embeddings()
    layers = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head]
    return sum(rank * (layer.in_features + layer.out_features) for layer in layers)


def plan_memory(model: PreTrainedModel, rank: int, work: Work) -> MemoryPlan:
    """The largest passes that fit what is free.

    On a CPU memory is plenty and checkpointing only costs time. On a GPU checkpointing is turned on when
    without it not even 8 rows would fit.
    """
    longest = work.prompt_tokens + work.completion_tokens
    everything = work.tokens
    if model.device.type == "cpu":
        return MemoryPlan(min(everything, max(CPU_TOKENS, longest)), False)
    free, _ = torch.cuda.mem_get_info(model.device)
    budget = int(free * USABLE)
    for checkpointing in (False, True):
        tokens = _most_tokens(model, rank, work, budget, checkpointing)
        if tokens >= min(LEAST_PASS * longest, everything) or checkpointing:
            break
    return MemoryPlan(max(tokens, 1), checkpointing)


def _most_tokens(model: PreTrainedModel, rank: int, work: Work, budget: int, checkpointing: bool) -> int:
    """By halving from a pass of the whole step; 0 if nothing fits. The weights are there already.

    Sampling does not bound a pass: where its cache does not fit, fewer answers are drawn together.
    """
    tokens = work.tokens
    while tokens and estimate(model, rank, work, tokens, checkpointing).training > budget:
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


def is_out_of_memory(error: BaseException) -> bool:
    """Whether PyTorch, on whichever device, could not get memory."""
    return (
        isinstance(error, torch.OutOfMemoryError | MemoryError)
        or "can't allocate memory" in str(error).lower()
    )
