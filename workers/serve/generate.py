"""Answers to a batch of prompts, each row with its own settings; a row leaves the batch when it is done."""

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
from workers.serve.constrained_decoding import Form
from workers.serve.errors import ApiError

COLDEST = 1e-9  # a temperature of 0 becomes this: the likeliest token
NARROWEST = 1e-9  # a top_p of 0 becomes this: the likeliest token
BYTES_PER_CHARACTER = 4
CLOSING_PART = 4  # an answer in a form is brought to its end in the last quarter of its limit


@dataclass(eq=False)
class Row:
    """One answer to be written. ``limit`` is in tokens; ``ids`` are those written, the end token included.

    ``future`` gets ``None`` once ``finish`` says how the answer ended; cancelled, it takes the row out.
    """

    prompt: list[int]
    limit: int
    temperature: float
    top_p: float
    stop: list[str]
    random: random.Random
    form: Form | None
    ids: list[int] = field(default_factory=list)
    finish: Literal["stop", "length"] | None = None
    future: Future[None] = field(default_factory=Future)

    def text(self, base: Base) -> str:
        """What was written, up to the first stop text."""
        text = base.renderer.decode(self.ids)
        return text[: min((place for stop in self.stop if (place := text.find(stop)) >= 0), default=None)]

    def take(self, token: int, base: Base) -> None:
        """Adds a token and ends the answer where it is due."""
        self.ids.append(token)
        if self._form_ends(token) or token in base.eos_ids or self._stops(base):
            self.finish = "stop"
        elif len(self.ids) >= self.limit:
            self.finish = "length"
        if self.finish:
            self.settle()

    def settle(self, error: Exception | None = None) -> None:
        """Tells the asker, unless it is gone, that the answer is whole, or why there will be none."""
        with suppress(InvalidStateError):
            self.future.set_exception(error) if error else self.future.set_result(None)

    def allowed(self, width: int) -> NDArray[np.bool_]:
        """Which tokens of the vocabulary may come next."""
        if self.form is None:
            return np.ones(width, dtype=bool)
        return self.form.allowed(width, closing=self.limit - len(self.ids) <= self.limit // CLOSING_PART)

    def _form_ends(self, token: int) -> bool:
        try:
            return self.form is not None and self.form.take(token)
        except ApiError as error:
            self.settle(error)
            return True

    def _stops(self, base: Base) -> bool:
        if not self.stop:
            return False
        reach = BYTES_PER_CHARACTER * (max(map(len, self.stop)) + 1)  # a token holds at least one byte
        tail = base.renderer.decode(self.ids[-reach:])
        return any(stop in tail for stop in self.stop)


def generate(base: Base, rows: list[Row]) -> None:
    """Writes every row's answer. Prompts are padded on the left; the cache keeps only rows still at work."""
    ids, mask = _padded(base, rows)
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
            tokens = draw(output.logits[:, -1], rows)
            for row, token in zip(rows, tokens, strict=True):
                row.take(token, base)
            kept = [place for place, row in enumerate(rows) if not row.future.done()]
            if len(kept) < len(rows):
                rows = [rows[place] for place in kept]
                index = torch.tensor(kept, device=mask.device, dtype=torch.long)
                cache.batch_select_indices(index)
                mask = mask[index]
            ids = torch.tensor([row.ids[-1:] for row in rows], device=mask.device, dtype=torch.long)
            mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)


def _padded(base: Base, rows: list[Row]) -> tuple[torch.Tensor, torch.Tensor]:
    """Prompts and their attention mask, both (rows, longest prompt)."""
    width = max(len(row.prompt) for row in rows)
    pads = [width - len(row.prompt) for row in rows]
    padding = int(base.tokenizer.pad_token_id)
    ids = [[padding] * pad + row.prompt for pad, row in zip(pads, rows, strict=True)]
    mask = [[0] * pad + [1] * (width - pad) for pad in pads]
    device = base.model.device
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def draw(logits: torch.Tensor, rows: list[Row]) -> list[int]:
    """A token a row from ``logits`` (rows, vocabulary).

    By inversion: a row's own uniform number picks from its cumulative distribution in the vocabulary's order,
    so that what a row draws does not depend on its batch mates.
    """
    scores = _constrained(logits.double(), rows)
    temperature = _column([max(row.temperature, COLDEST) for row in rows], scores)
    probabilities = torch.softmax((scores - scores.amax(-1, keepdim=True)) / temperature, dim=-1)
    cumulative = _nucleus(probabilities, rows).cumsum(-1)
    total = cumulative[:, -1:]
    wanted = _column([row.random.random() for row in rows], scores) * total
    wanted = torch.minimum(wanted, torch.nextafter(total, torch.zeros_like(total)))
    return [int(token) for token in torch.searchsorted(cumulative, wanted, right=True).flatten().tolist()]


def _column(values: list[float], like: torch.Tensor) -> torch.Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device).unsqueeze(1)


def _constrained(scores: torch.Tensor, rows: list[Row]) -> torch.Tensor:
    """Tokens that a row's form forbids get minus infinity."""
    if all(row.form is None for row in rows):
        return scores
    allowed = torch.from_numpy(np.stack([row.allowed(scores.shape[1]) for row in rows]))
    return scores.masked_fill(~allowed.to(scores.device), -torch.inf)


def _nucleus(probabilities: torch.Tensor, rows: list[Row]) -> torch.Tensor:
    """Keeps a row's likeliest tokens, as few as hold ``top_p`` together (arXiv 1904.09751)."""
    if all(row.top_p >= 1 for row in rows):
        return probabilities
    top_p = _column(
        [max(row.top_p, NARROWEST) if row.top_p < 1 else torch.inf for row in rows], probabilities
    )
    ordered, order = probabilities.sort(dim=-1, descending=True, stable=True)
    outside = ordered.cumsum(-1) - ordered >= top_p
    return probabilities.masked_fill(torch.zeros_like(outside).scatter(1, order, outside), 0.0)
