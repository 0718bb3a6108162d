"""Rows of a batch: one completion each, with its own settings, and the group that shares their prompt."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from workers.serve.adapters import Adapter
from workers.serve.constrained_decoding import Constraint
from workers.serve.detokenizer import Detokenizer
from workers.serve.errors import ApiError

CLOSING_PART = 4  # in the last quarter of its limit, a constrained completion is forced to its end


@dataclass(frozen=True)
class Settings:
    """Sampling settings of a request. ``limit`` is in tokens; ``bias`` is added to the logits of tokens.

    ``scores`` asks for the log-probabilities of sampled tokens, ``top`` for those of the likeliest ones.
    """

    limit: int
    temperature: float = 1.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    bias: tuple[tuple[int, float], ...] = ()
    scores: bool = False
    top: int = 0

    @property
    def changes_logits(self) -> bool:
        """True if penalties or a bias change the model's logits."""
        return bool(self.presence_penalty or self.frequency_penalty or self.bias)


@dataclass(frozen=True)
class Scores:
    """Log-probabilities of a sampled token: as sampled, of the model itself, and of its likeliest tokens."""

    sampled: float
    model: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(eq=False)
class Row:
    """One completion. ``ids`` are its generated tokens, the end token included.

    ``future`` gets ``None`` once ``finish`` is set. A cancelled future removes the row from the batch.
    ``on_token`` is called in the thread of the generation after each token.
    """

    settings: Settings
    random: random.Random
    detokenizer: Detokenizer
    end_ids: frozenset[int]
    constraint: Constraint | None = None
    ids: list[int] = field(default_factory=list)
    scores: list[Scores] = field(default_factory=list)
    finish: Literal["stop", "length"] | None = None
    future: Future[None] = field(default_factory=Future)
    on_token: Callable[[], None] = lambda: None
    counts: Counter[int] = field(default_factory=Counter)

    def add(self, token: int, scores: Scores | None = None) -> None:
        """Add a token, and end the completion if it is due."""
        self.ids.append(token)
        if scores:
            self.scores.append(scores)
        if self.settings.changes_logits:
            self.counts[token] += 1
        ends = token in self.end_ids
        complete = self.constraint is not None and self._completes_grammar(self.constraint, token)
        stopped = not ends and self.detokenizer.add(token)
        if ends or complete or stopped:
            self.finish = "stop"
        elif len(self.ids) >= self.settings.limit:
            self.finish = "length"
        if self.finish:
            self.settle()
        self.on_token()

    def settle(self, error: Exception | None = None) -> None:
        """Set the future, unless it was cancelled: the completion is finished or failed."""
        with suppress(InvalidStateError):
            self.future.set_exception(error) if error else self.future.set_result(None)

    def mask_tokens(self, width: int) -> NDArray[np.bool_]:
        """Return which tokens of the vocabulary the grammar allows next."""
        if self.constraint is None:
            return np.ones(width, dtype=bool)
        left, limit = self.settings.limit - len(self.ids), self.settings.limit
        return self.constraint.mask_tokens(width, closing=left <= limit // CLOSING_PART)

    def _completes_grammar(self, constraint: Constraint, token: int) -> bool:
        try:
            return constraint.add(token)
        except ApiError as error:
            self.settle(error)
            return True


@dataclass(eq=False)
class Group:
    """Rows that continue the same prompt with the same adapter; ``None`` is the base itself."""

    prompt: list[int]
    rows: list[Row]
    adapter: Adapter | None = None

    def take(self, count: int) -> list[Row]:
        """Remove and return the first rows."""
        taken, self.rows = self.rows[:count], self.rows[count:]
        return taken

    def drop_cancelled(self) -> None:
        """Forget the rows whose client has left."""
        self.rows = [row for row in self.rows if not row.future.done()]

    def settle(self, error: Exception) -> None:
        """Fail all rows."""
        for row in self.rows:
            row.settle(error)
