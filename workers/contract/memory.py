"""Estimate of a job's memory from the model's shape, for the engine's plan and the job form.

Standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from workers.contract.base_models import model_config

CPU_TOKENS = 4096  # above, a pass is limited by memory bandwidth, not by arithmetic
TILE_ROWS, TILE_COLUMNS = 4096, 32_768  # positions and tokens that TRL's fused head projects at once
CPU_TILES = 6  # of its backward pass without Triton: logits, scaled, logs, exponentials, gradient, sum
GPU_TILES = 2  # Triton's kernel works in place
LEAST_PASS = 8  # rows of full length; if fewer fit, a GPU uses gradient checkpointing
FUSED_PARAMETERS = 300_000_000  # above, a second copy of the weights costs more than fewer calls save
PROCESS = 500 * 2**20  # Python and its libraries; on a GPU CUDA's context, which is similar
SHARED_FROM = 32  # prompt tokens from which keys are not copied for each completion


@dataclass(frozen=True)
class Shape:
    """A dense transformer. ``size`` is bytes per number; ``adapted`` the size of an adapter of rank 1."""

    layers: int
    hidden: int
    intermediate: int
    queries: int
    keys: int
    vocabulary: int
    size: int
    parameters: int
    adapted: int

    @property
    def weights(self) -> int:
        return self.parameters * self.size


@dataclass(frozen=True)
class Estimate:
    """Bytes by purpose, for passes of a given number of tokens. ``total`` is the expected peak."""

    weights: int
    adapter: int
    optimizer: int
    activations: int
    cache: int
    logits: int
    process: int = PROCESS

    @property
    def total(self) -> int:
        """Sampling and training alternate: the larger of cache and activations counts."""
        held = self.process + self.weights + self.adapter + self.optimizer
        return held + max(self.activations + self.logits, self.cache)

    @property
    def training(self) -> int:
        """Memory of a pass in addition to the weights."""
        return self.adapter + self.optimizer + self.activations + self.logits


@dataclass(frozen=True)
class Work:
    """The largest step of a job: prompts, completions and rollouts that are in memory together."""

    prompt_tokens: int
    completion_tokens: int
    rollouts: int
    group_size: int
    shares: bool = True

    @property
    def longest(self) -> int:
        """Tokens of a row of full length."""
        return self.prompt_tokens + self.completion_tokens

    @property
    def tokens(self) -> int:
        """Tokens of a whole step in the model: a shared prompt counts once per group."""
        copies = self.rollouts // self.group_size if self.shares else self.rollouts
        return copies * self.prompt_tokens + self.rollouts * self.completion_tokens

    @property
    def cached_tokens(self) -> int:
        """Tokens whose keys and values are cached while a step is sampled: a long prompt's once per group."""
        if self.shares and self.prompt_tokens >= SHARED_FROM:
            return self.tokens
        return self.rollouts * self.longest


def shape(config: Any, size: int, parameters: int, adapted: int | None = None) -> Shape:
    """Read the shape from a Hugging Face config, an object with attributes.

    Raises ``AttributeError`` for an unknown kind. Without ``adapted`` every linear layer but the head is
    assumed to have the usual form. A model without attention (Mamba) counts as if its states were as wide as
    its hidden size.
    """
    hidden, intermediate = model_config.require(config, "hidden"), model_config.intermediate(config)
    layers, heads = model_config.require(config, "layers"), model_config.find(config, "heads") or 1
    width = getattr(config, "head_dim", None) or hidden // heads
    queries, keys = heads * width, model_config.key_heads(config, heads) * width
    matrices = 3 if model_config.is_gated(config) else 2
    each = 2 * (hidden + queries) + 2 * (hidden + keys) + matrices * (hidden + intermediate)
    return Shape(
        layers=layers,
        hidden=hidden,
        intermediate=intermediate,
        queries=queries,
        keys=keys,
        vocabulary=config.vocab_size,
        size=size,
        parameters=parameters,
        adapted=layers * each if adapted is None else adapted,
    )


def estimate(shape: Shape, rank: int, work: Work, tokens: int, checkpointing: bool) -> Estimate:
    """Estimate the memory with an adapter of ``rank`` and passes of at most ``tokens`` tokens."""
    tokens, adapter = min(tokens, work.tokens), rank * shape.adapted
    back = tokens * 4 * shape.intermediate * shape.size  # a layer's gradients in the backward pass
    return Estimate(
        weights=shape.weights,
        adapter=adapter * 4 * 2,  # float32 values and gradients
        optimizer=adapter * 4 * 2,  # Adam's two moments
        activations=tokens * token_bytes(shape, checkpointing)
        + _count_copied_keys(shape, work, tokens)
        + back,
        cache=work.cached_tokens * 2 * shape.keys * shape.layers * shape.size + _count_folded_weights(shape),
        logits=_count_logits(shape, tokens),
    )


def token_bytes(shape: Shape, checkpointing: bool) -> int:
    """Return bytes of activations that one token keeps for the backward pass, over a layer's saved tensors.

    Per layer: each norm's input, normalised values and output (6 of the hidden size); queries before and
    after their norm, in attention, its output twice (5); keys and values likewise (6); gate, its activation,
    up and their product (4 of the intermediate size). With checkpointing a layer keeps its input alone, and
    only one layer at a time has all activations.
    """
    numbers = 6 * shape.hidden + 5 * shape.queries + 6 * shape.keys + 4 * shape.intermediate
    layer = shape.size * numbers
    if checkpointing:
        return shape.layers * shape.hidden * shape.size + layer
    return shape.layers * layer


def _count_logits(shape: Shape, tokens: int) -> int:
    """Return bytes of the fused head's largest tile, in float32 on a CPU and in 16 bits on a GPU."""
    copies = CPU_TILES if shape.size == 4 else GPU_TILES
    return copies * min(tokens, TILE_ROWS) * min(shape.vocabulary, TILE_COLUMNS) * shape.size


def _count_copied_keys(shape: Shape, work: Work, tokens: int) -> int:
    """Return bytes of the prompt's keys and values, copied for each completion that attends to them."""
    if not work.shares:
        return 0
    each = work.prompt_tokens + work.group_size * work.completion_tokens
    rows = min(work.rollouts, max(1, tokens // each) * work.group_size)
    return rows * work.longest * 2 * shape.keys * shape.size * shape.layers


def _count_folded_weights(shape: Shape) -> int:
    """Return bytes of copies of the projections for sampling in float32: folded, and fused."""
    if shape.size < 4:
        return 0
    copies = 2 if shape.parameters <= FUSED_PARAMETERS else 1
    return copies * shape.size * (shape.parameters - shape.vocabulary * shape.hidden)


def cpu_tokens(work: Work) -> int:
    """Return the tokens of a pass on a CPU, where memory is plenty."""
    return min(work.tokens, max(CPU_TOKENS, work.longest))


def least_tokens(work: Work) -> int:
    """Return the tokens of the smallest pass on a GPU without gradient checkpointing."""
    return min(LEAST_PASS * work.longest, work.tokens)
