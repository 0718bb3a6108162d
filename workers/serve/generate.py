"""Generation for a batch of prompts. Rows have their own settings and leave the batch when they end."""

from __future__ import annotations

import random
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from workers.engine.base_model.models import Base
from workers.serve.constrained_decoding import SchemaConstraint
from workers.serve.errors import ApiError

MIN_TEMPERATURE = 1e-9  # used for 0: gives the most likely token
MIN_TOP_P = 1e-9  # used for 0: gives the most likely token
BYTES_PER_CHARACTER = 4
CLOSING_PART = 4  # in the last quarter of its limit, a constrained completion is forced to its end


@dataclass(eq=False)
class Row:
    """One completion. ``limit`` is in tokens; ``ids`` are the generated ones, the end token included.

    ``future`` gets ``None`` once ``finish`` is set. A cancelled future removes the row from the batch.
    """

    prompt: list[int]
    limit: int
    temperature: float
    top_p: float
    stop: list[str]
    random: random.Random
    constraint: SchemaConstraint | None
    ids: list[int] = field(default_factory=list)
    finish: Literal["stop", "length"] | None = None
    future: Future[None] = field(default_factory=Future)

    def text(self, base: Base) -> str:
        """Return the generated text, up to the first stop text."""
        text = base.renderer.decode(self.ids)
        return text[: min((index for stop in self.stop if (index := text.find(stop)) >= 0), default=None)]

    def add(self, token: int, base: Base) -> None:
        """Add a token, and end the completion if it is due."""
        self.ids.append(token)
        if self._completes_schema(token) or token in base.eos_ids or self._has_stop(base):
            self.finish = "stop"
        elif len(self.ids) >= self.limit:
            self.finish = "length"
        if self.finish:
            self.settle()

    def settle(self, error: Exception | None = None) -> None:
        """Set the future, unless it was cancelled: the completion is finished or failed."""
        with suppress(InvalidStateError):
            self.future.set_exception(error) if error else self.future.set_result(None)

    def mask_tokens(self, width: int) -> NDArray[np.bool_]:
        """Return which tokens of the vocabulary may come next."""
        if self.constraint is None:
            return np.ones(width, dtype=bool)
        return self.constraint.mask_tokens(
            width, closing=self.limit - len(self.ids) <= self.limit // CLOSING_PART
        )

    def _completes_schema(self, token: int) -> bool:
        try:
            return self.constraint is not None and self.constraint.add(token)
        except ApiError as error:
            self.settle(error)
            return True

    def _has_stop(self, base: Base) -> bool:
        if not self.stop:
            return False
        reach = BYTES_PER_CHARACTER * (max(map(len, self.stop)) + 1)  # a token holds at least one byte
        tail = base.renderer.decode(self.ids[-reach:])
        return any(stop in tail for stop in self.stop)


def generate(base: Base, rows: list[Row]) -> None:
    """Generate all rows. Prompts are padded on the left; the cache keeps only unfinished rows."""
    ids, mask = _pad_prompts(base, rows)
    cache: Any = None
    with torch.inference_mode():
        while rows:
            positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
            output = base.model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            cache = output.past_key_values
            tokens = sample(output.logits[:, -1], rows)
            for row, token in zip(rows, tokens, strict=True):
                row.add(token, base)
            unfinished = [index for index, row in enumerate(rows) if not row.future.done()]
            if len(unfinished) < len(rows):
                rows = [rows[index] for index in unfinished]
                indices = torch.tensor(unfinished, device=mask.device, dtype=torch.long)
                cache.batch_select_indices(indices)
                mask = mask[indices]
            ids = torch.tensor([row.ids[-1:] for row in rows], device=mask.device, dtype=torch.long)
            mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)


def _pad_prompts(base: Base, rows: list[Row]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return prompts and their attention mask, both (rows, longest prompt)."""
    width = max(len(row.prompt) for row in rows)
    pads = [width - len(row.prompt) for row in rows]
    padding = int(base.tokenizer.pad_token_id)
    ids = [[padding] * pad + row.prompt for pad, row in zip(pads, rows, strict=True)]
    mask = [[0] * pad + [1] * (width - pad) for pad in pads]
    device = base.model.device
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def sample(logits: torch.Tensor, rows: list[Row]) -> list[int]:
    """Sample one token per row from ``logits`` (rows, vocabulary).

    A uniform number of the row's own is looked up in its cumulative distribution, in the vocabulary's order.
    The sample therefore does not depend on the other rows of the batch.
    """
    scores = _mask_forbidden(logits.double(), rows)
    temperature = _column([max(row.temperature, MIN_TEMPERATURE) for row in rows], scores)
    probabilities = torch.softmax((scores - scores.amax(-1, keepdim=True)) / temperature, dim=-1)
    cumulative = _cut_to_nucleus(probabilities, rows).cumsum(-1)
    total = cumulative[:, -1:]
    target = _column([row.random.random() for row in rows], scores) * total
    # Rounding may reach the total, behind which there is no token.
    target = torch.minimum(target, torch.nextafter(total, torch.zeros_like(total)))
    return [int(token) for token in torch.searchsorted(cumulative, target, right=True).flatten().tolist()]


def _column(values: list[float], like: torch.Tensor) -> torch.Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device).unsqueeze(1)


def _mask_forbidden(scores: torch.Tensor, rows: list[Row]) -> torch.Tensor:
    """Set the scores of tokens that a row's constraint forbids to minus infinity."""
    if all(row.constraint is None for row in rows):
        return scores
    allowed = torch.from_numpy(np.stack([row.mask_tokens(scores.shape[1]) for row in rows]))
    return scores.masked_fill(~allowed.to(scores.device), -torch.inf)


def _cut_to_nucleus(probabilities: torch.Tensor, rows: list[Row]) -> torch.Tensor:
    """Keep a row's most likely tokens, as few as reach ``top_p`` together (arXiv 1904.09751)."""
    if all(row.top_p >= 1 for row in rows):
        return probabilities
    top_p = _column(
        [max(row.top_p, MIN_TOP_P) if row.top_p < 1 else torch.inf for row in rows], probabilities
    )
    ordered, order = probabilities.sort(dim=-1, descending=True, stable=True)
    outside = ordered.cumsum(-1) - ordered >= top_p
    return probabilities.masked_fill(torch.zeros_like(outside).scatter(1, order, outside), 0.0)
