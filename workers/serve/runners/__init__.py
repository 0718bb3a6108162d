"""Runners: one step of a model over rows that generate and over parts of prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from transformers import PreTrainedModel

from workers.engine.fast.architecture import is_known
from workers.serve.adapters import Adapter, Shapes


@dataclass(eq=False)
class Prefix:
    """A prompt's keys and values, as far as it has been read. Only its runner knows the form of ``state``."""

    adapter: Adapter | None
    length: int = 0
    state: Any = None


@dataclass(frozen=True)
class Chunk:
    """The next part of a prompt; ``last`` if it is the end of it."""

    prefix: Prefix
    ids: Sequence[int]
    last: bool


class Runner(Protocol):
    """A model with the caches of its rows. Rows are numbered in the order in which they joined."""

    shapes: Shapes

    def step(self, tokens: Sequence[int], chunks: Sequence[Chunk]) -> torch.Tensor:
        """Add a token to every row and the chunks to their prefixes.

        Returns the logits (rows + last chunks, vocabulary) after each row's token and each whole prompt.
        """

    def join(self, prefix: Prefix, count: int) -> None:
        """Append ``count`` rows that continue a whole prompt."""

    def keep(self, order: Sequence[int]) -> None:
        """Keep rows: the new row ``i`` is the old row ``order[i]``, and ``order[i] >= i``."""

    def reset(self) -> None:
        """Drop all rows."""


def build_runner(model: PreTrainedModel) -> Runner:
    """Return the fast runner if it supports the model, else that of transformers."""
    from workers.serve.runners.fast import FastRunner
    from workers.serve.runners.plain import PlainRunner

    return FastRunner(model) if is_known(model) else PlainRunner(model)
