"""Keys and values of rows of different lengths, each row from the first slot on."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from workers.engine.fast.architecture import Block
from workers.engine.fast.decoder import sees

SLOTS = 64  # the cache grows by as many tokens at least
States = list[tuple[torch.Tensor, torch.Tensor]]
"""Keys and values of each layer, (1, heads, tokens, width)."""


class RowCache:
    """A cache whose rows join and leave one by one, and which grows with its longest row."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        self._blocks = blocks
        self.lengths: list[int] = []
        self._states: States = []

    def append(self, states: States, length: int, count: int) -> None:
        """Append ``count`` rows with the keys and values of a prompt."""
        begin = len(self.lengths)
        self._reserve(begin + count, length + 1, states)
        for own, given in zip(self._states, states, strict=True):
            for tensor, source in zip(own, given, strict=True):
                tensor[begin : begin + count, :, :length] = source
        self.lengths += [length] * count

    def keep(self, order: Sequence[int]) -> None:
        """Keep rows: the new row ``i`` is the old row ``order[i]``, and ``order[i] >= i``."""
        if not order:
            self._states = []
        for tensor in (tensor for pair in self._states for tensor in pair):
            for new, old in enumerate(order):
                if new != old:
                    tensor[new, :, : self.lengths[old]] = tensor[old, :, : self.lengths[old]]
        self.lengths = [self.lengths[old] for old in order]

    def _reserve(self, rows: int, slots: int, like: States) -> None:
        """Grow to these numbers of rows and slots, by half at least."""
        have_rows, have_slots = (
            (self._states[0][0].size(0), self._states[0][0].size(2)) if self._states else (0, 0)
        )
        if rows <= have_rows and slots <= have_slots:
            return
        if rows > have_rows:
            rows = max(rows, have_rows * 3 // 2)
        if slots > have_slots:
            slots = max(slots + SLOTS, have_slots * 3 // 2)
        rows, slots, longest = max(rows, have_rows), max(slots, have_slots), max(self.lengths, default=0)
        old, self._states = self._states, []
        for layer, (keys, _) in enumerate(like):
            # Zeros: a slot without a token has the weight 0, and 0 times an undefined number may be NaN.
            pair = [keys.new_zeros(rows, keys.size(1), slots, keys.size(3)) for _ in range(2)]
            for new, before in zip(pair, old[layer] if old else (), strict=False):
                new[: len(self.lengths), :, :longest] = before[: len(self.lengths), :, :longest]
            self._states.append((pair[0], pair[1]))

    def begin_step(self, device: torch.device) -> None:
        """Prepare to add one token to every row."""
        self._count, self._end = len(self.lengths), max(self.lengths) + 1
        self._reserve(self._count, self._end, self._states)
        self._at = torch.tensor(self.lengths, device=device)
        self._rows = torch.arange(self._count, device=device)
        slots = torch.arange(self._end, device=device)[None]
        windows = {block.window for block in self._blocks}
        self._hidden = {window: ~sees(self._at[:, None], slots, window)[:, None, None] for window in windows}

    def attend(self, layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """Add one token per row (rows, heads, width); return its attention, of the same shape as q."""
        (keys, values), block = self._states[layer], self._blocks[layer]
        keys[self._rows, :, self._at], values[self._rows, :, self._at] = k, v
        keys, values = keys[: self._count, :, : self._end], values[: self._count, :, : self._end]
        grouped = q.reshape(q.size(0), k.size(1), -1, q.size(2)) * block.scale
        scores = (grouped @ keys.transpose(2, 3)).masked_fill_(self._hidden[block.window], float("-inf"))
        weights = scores.softmax(-1, dtype=torch.float32).to(q.dtype)
        return (weights @ values).reshape(q.shape)

    def end_step(self) -> None:
        """Move on to the next token, after all layers have attended to this one."""
        self.lengths = [length + 1 for length in self.lengths]
