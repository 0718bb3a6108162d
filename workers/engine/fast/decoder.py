"""Fast sampling: one prefill per prompt, a preallocated cache, and finished rows dropped.

``generate`` of transformers runs a prompt once for each of its completions, computes finished rows to the
end and spends most of a small model's time between kernels. Here the keys and values of a prompt are computed
once and shared by its completions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch.nn.functional import scaled_dot_product_attention

from workers.contract.memory import SHARED_FROM
from workers.engine.fast.architecture import Architecture, Block

COMPACT_BELOW = 0.9  # share of unfinished rows below which finished ones are dropped
# Waking a sleeping thread takes 50 to 100 µs, measured: as long as one thread needs for this many products.
ONE_THREAD_BELOW = 16_000_000


@dataclass(frozen=True)
class Completions:
    """Completions of one prompt: token ids, end token included, and the log-probability of each token."""

    ids: list[list[int]]
    logps: list[list[float]]


class Cache(Protocol):
    """Keys and values of prompts x completions rows."""

    def attend(self, layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """Add one token per row (rows, heads, 1, width); return its attention, of the same shape as q."""

    def keep(self, prompts: torch.Tensor, rows: torch.Tensor) -> None:
        """Drop all other prompts and rows."""

    def advance(self) -> None:
        """Move on to the next token, after all layers have attended to this one."""


Prefix = list[tuple[torch.Tensor, torch.Tensor]]
"""Keys and values of each layer: (prompts, heads, longest, width)."""


class CopiedCache:
    """Copies the prompt's keys for each completion: one kernel call, best for very short prompts."""

    def __init__(
        self, blocks: list[Block], prefix: Prefix, lengths: torch.Tensor, each: int, room: int
    ) -> None:
        self.blocks = blocks
        self.prompt_slots = self.at = prefix[0][0].size(2)
        self.lengths = lengths.repeat_interleave(each)
        self.keys = [_extend(keys.repeat_interleave(each, 0), room) for keys, _ in prefix]
        self.values = [_extend(values.repeat_interleave(each, 0), room) for _, values in prefix]
        self._locate_keys()

    def _locate_keys(self) -> None:
        """Compute the position of each slot's token (rows, slots); a huge one for slots without a token."""
        slots = torch.arange(self.keys[0].size(2), device=self.lengths.device)[None]
        own = self.lengths[:, None] + slots - self.prompt_slots
        self.key_positions = torch.where(
            slots < self.prompt_slots, torch.where(slots < self.lengths[:, None], slots, 1 << 30), own
        )

    def attend(self, layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        keys, values, end = self.keys[layer], self.values[layer], self.at + 1
        keys[:, :, self.at : end], values[:, :, self.at : end] = k, v
        block = self.blocks[layer]
        position = (self.lengths + self.at - self.prompt_slots)[:, None]
        masked = ~sees(position, self.key_positions[:, :end], block.window)[:, None, None]
        # Query heads that share a key head are rows of one matrix. Plain products: for one token per row the
        # fused kernel takes 2.6 times as long on a CPU.
        grouped = q.view(q.size(0), k.size(1), -1, q.size(3)) * block.scale
        scores = (grouped @ keys[:, :, :end].transpose(2, 3)).masked_fill_(masked, float("-inf"))
        weights = scores.softmax(-1, dtype=torch.float32).to(q.dtype)
        return (weights @ values[:, :, :end]).reshape(q.shape)

    def keep(self, prompts: torch.Tensor, rows: torch.Tensor) -> None:
        self.keys = [_select(keys, rows) for keys in self.keys]
        self.values = [_select(values, rows) for values in self.values]
        self.lengths, self.key_positions = self.lengths[rows], self.key_positions[rows]

    def advance(self) -> None:
        self.at += 1


class SharedCache:
    """Holds the prompt's keys once for all its completions: a fraction of the memory traffic."""

    def __init__(
        self, blocks: list[Block], prefix: Prefix, lengths: torch.Tensor, each: int, room: int
    ) -> None:
        self.blocks, self.prefix, self.lengths, self.each, self.at = blocks, prefix, lengths, each, 0
        keys = prefix[0][0]
        shape = (len(lengths) * each, keys.size(1), room, keys.size(3))
        self.own = [(keys.new_empty(shape), keys.new_empty(shape)) for _ in prefix]
        self._padding = self._find_padding()

    def attend(self, layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """Take one softmax over the scores of the prompt's keys and of the row's own keys."""
        block, end = self.blocks[layer], self.at + 1
        (keys, values), (own_keys, own_values) = self.prefix[layer], self.own[layer]
        own_keys[:, :, self.at : end], own_values[:, :, self.at : end] = k, v
        prompts, kv, width = keys.size(0), keys.size(1), keys.size(3)
        repeat = q.size(1) // kv
        q = q.view(-1, kv, repeat, width) * block.scale
        folded = q.view(prompts, self.each, kv, repeat, width).transpose(1, 2).reshape(prompts, kv, -1, width)
        before = (folded @ keys.transpose(2, 3)).masked_fill_(self._mask_prefix(block), float("-inf"))
        before = before.view(prompts, kv, self.each, repeat, -1).transpose(1, 2)
        after = q @ own_keys[:, :, self._first_own(block) : end].transpose(2, 3)
        after = after.view(prompts, self.each, kv, repeat, -1)
        weights = torch.cat([before, after], dim=-1).softmax(dim=-1, dtype=torch.float32).to(q.dtype)
        before, after = weights.tensor_split([before.size(-1)], dim=-1)
        seen = before.transpose(1, 2).reshape(prompts, kv, self.each * repeat, -1) @ values
        seen = seen.view(prompts, kv, self.each, repeat, width).transpose(1, 2).reshape(-1, kv, repeat, width)
        after = after.reshape(-1, kv, repeat, after.size(-1))
        seen = seen + after @ own_values[:, :, self._first_own(block) : end]
        result: torch.Tensor = seen.reshape(-1, kv * repeat, 1, width)
        return result

    def _find_padding(self) -> torch.Tensor:
        """Return (prompts, 1, 1, longest): True for slots behind a prompt's end."""
        slots = torch.arange(self.prefix[0][0].size(2), device=self.lengths.device)
        return (slots >= self.lengths[:, None])[:, None, None]

    def _mask_prefix(self, block: Block) -> torch.Tensor:
        """Return the padding and what lies before the window; completions of a prompt are equally long."""
        if block.window is None:
            return self._padding
        slots = torch.arange(self._padding.size(-1), device=self.lengths.device)
        distance = (self.lengths[:, None] + self.at - slots)[:, None, None]
        return self._padding | (distance >= block.window)

    def _first_own(self, block: Block) -> int:
        return 0 if block.window is None else max(0, self.at + 1 - block.window)

    def keep(self, prompts: torch.Tensor, rows: torch.Tensor) -> None:
        self.each = len(rows) // len(prompts)
        self.lengths = self.lengths[prompts]
        if len(prompts) < self.prefix[0][0].size(0):
            self.prefix = [(_select(k, prompts), _select(v, prompts)) for k, v in self.prefix]
            self._padding = self._find_padding()
        self.own = [(_select(k, rows), _select(v, rows)) for k, v in self.own]

    def advance(self) -> None:
        self.at += 1


class Decoder:
    """Samples from a model. Build a new one whenever weights have changed."""

    def __init__(self, architecture: Architecture) -> None:
        self.model = architecture

    @torch.no_grad()
    def sample(
        self,
        prompts: list[list[int]],
        each: int,
        most: int,
        temperature: float,
        ends: list[int],
        check: Callable[[], None] = lambda: None,
    ) -> list[Completions]:
        """Sample ``each`` completions of at most ``most`` tokens to every prompt, at ``temperature`` alone.

        ``check`` is called at every token; an exception of it ends the sampling.
        """
        state = _Writer(len(prompts), each, most)
        device = self.model.norm.weight.device
        lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
        hidden, prefix = self.prefill(prompts, lengths)
        kind = SharedCache if prefix[0][0].size(2) >= SHARED_FROM else CopiedCache
        cache: Cache = kind(self.model.blocks, prefix, lengths, each, most)
        hidden, positions = hidden.repeat_interleave(each, 0), lengths.repeat_interleave(each)
        ends_at = torch.tensor(ends, device=device)
        live = torch.ones(len(positions), dtype=torch.bool, device=device)
        for step in range(most):
            check()
            token, logps = self.draw(hidden, temperature)
            state.write(step, token, logps)
            live &= ~torch.isin(token, ends_at)
            alive = int(live.sum())
            if not alive or step == most - 1:
                break
            if alive < COMPACT_BELOW * len(live):
                prompts_left, rows = state.select_unfinished(live)
                if len(rows) < len(live):
                    cache.keep(prompts_left, rows)
                    state.keep(rows)
                    token, positions, live = token[rows], positions[rows], live[rows]
            hidden = self._step(token, positions, cache)
            positions = positions + 1
        return state.collect(set(ends))

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the logits (rows, vocabulary) of normed hidden states, in float32."""
        logits = self.model.head(hidden).float()
        if self.model.softcap:
            logits = (logits / self.model.softcap).tanh() * self.model.softcap
        return logits

    def run_layers(self, ids: torch.Tensor, positions: torch.Tensor, attend: Attend) -> torch.Tensor:
        """Return hidden states before the last norm, of token ids and positions (rows, tokens)."""
        x = self.model.embed(ids)
        tables = self._tables(x, positions)
        for layer, block in enumerate(self.model.blocks):
            x = self._run_layer(layer, block, x, tables[block.rotary], attend)
        return x

    def draw(self, hidden: torch.Tensor, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Sample a token per row, by inverting the cumulative distribution, and its log-probability."""
        with wake_threads(len(hidden) * self.model.head.size):
            return self._invert(self.logits(hidden), temperature)

    def _invert(self, logits: torch.Tensor, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
        logps = (logits / temperature).log_softmax(-1)
        sums = logps.exp().cumsum(-1, dtype=torch.float64)
        uniform = torch.rand(len(sums), 1, dtype=torch.float64, device=sums.device) * sums[:, -1:]
        token = torch.searchsorted(sums, uniform, right=True).clamp_(max=sums.size(1) - 1)
        return token[:, 0], logps.gather(1, token)[:, 0]

    def prefill(self, prompts: list[list[int]], lengths: torch.Tensor) -> tuple[torch.Tensor, Prefix]:
        """Return the hidden state after each prompt's last token, and every layer's keys and values."""
        longest = max(map(len, prompts))
        ids = torch.tensor([p + [0] * (longest - len(p)) for p in prompts], device=lengths.device)
        positions = torch.arange(longest, device=ids.device)[None]
        prefix: Prefix = []

        def attend(layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            prefix.append((k, v))
            block = self.model.blocks[layer]
            mask: torch.Tensor | None = None  # causal attention ignores padding on the right
            if block.window is not None and longest > block.window:
                mask = sees(positions.t(), positions, block.window)
            return attend_masked(q, k, v, mask, block.scale, causal=mask is None)

        x = self.run_layers(ids, positions, attend)
        return self.model.norm(x[torch.arange(len(x)), lengths - 1]), prefix

    def _step(self, token: torch.Tensor, positions: torch.Tensor, cache: Cache) -> torch.Tensor:
        with wake_threads(len(token) * self.model.blocks[0].gate_up.size):
            return self._advance(token, positions, cache)

    def _advance(self, token: torch.Tensor, positions: torch.Tensor, cache: Cache) -> torch.Tensor:
        x = self.run_layers(token[:, None], positions[:, None], cache.attend)
        cache.advance()
        return self.model.norm(x[:, 0])

    def _tables(
        self, x: torch.Tensor, positions: torch.Tensor
    ) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        kinds = {block.rotary for block in self.model.blocks}
        return {kind: self.model.angles(x, positions, kind) for kind in kinds}

    def _run_layer(
        self,
        layer: int,
        block: Block,
        x: torch.Tensor,
        table: tuple[torch.Tensor, torch.Tensor],
        attend: Attend,
    ) -> torch.Tensor:
        """Run one layer over (rows, tokens, hidden)."""
        model, (rows, tokens, _) = self.model, x.shape
        heads = [model.heads * model.width, (model.heads + model.kv_heads) * model.width]
        q, k, v = (
            part.view(rows, tokens, -1, model.width)
            for part in block.qkv(block.attention_norm(x)).tensor_split(heads, dim=-1)
        )
        q = block.query_norm(q) if block.query_norm else q
        k = block.key_norm(k) if block.key_norm else k
        q, k = _rotate(q.transpose(1, 2), table), _rotate(k.transpose(1, 2), table)
        attended = attend(layer, q, k, v.transpose(1, 2)).transpose(1, 2).reshape(rows, tokens, -1)
        added = block.output(attended)
        x = x + (block.after_attention(added) if block.after_attention else added)
        gate, up = block.gate_up(block.mlp_norm(x)).chunk(2, dim=-1)
        added = block.down(model.activation(gate) * up)
        return x + (block.after_mlp(added) if block.after_mlp else added)


class Attend(Protocol):
    """Attention of new tokens; it also stores their keys and values."""

    def __call__(self, layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, /) -> torch.Tensor: ...


class _Writer:
    """Tokens sampled so far, by row. Rows keep their number when others are dropped."""

    def __init__(self, prompts: int, each: int, most: int) -> None:
        self.prompts, self.each = prompts, each
        self.ids = torch.full((prompts * each, most), -1)
        self.logps = torch.zeros(prompts * each, most)
        self.rows = torch.arange(prompts * each)

    def write(self, step: int, token: torch.Tensor, logps: torch.Tensor) -> None:
        self.ids[self.rows, step], self.logps[self.rows, step] = token.cpu(), logps.cpu()

    def select_unfinished(self, live: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the prompts and rows to go on with; each prompt has as many rows as the fullest one."""
        alive = live.view(self._prompts_left(), -1)
        most = int(alive.sum(1).max())
        prompts = alive.any(1).nonzero()[:, 0]
        order = alive[prompts].int().argsort(dim=1, descending=True, stable=True)[:, :most]
        return prompts, (prompts[:, None] * alive.size(1) + order).flatten()

    def keep(self, rows: torch.Tensor) -> None:
        """Write only these rows from now on."""
        self.rows = self.rows[rows.cpu()]

    def _prompts_left(self) -> int:
        return len(set((self.rows // self.each).tolist()))

    def collect(self, ends: set[int]) -> list[Completions]:
        ids = [_cut_row(row, ends) for row in self.ids.tolist()]
        logps = [row[: len(own)] for row, own in zip(self.logps.tolist(), ids, strict=True)]
        spans = [slice(first, first + self.each) for first in range(0, len(ids), self.each)]
        return [Completions(ids[span], logps[span]) for span in spans]


@contextmanager
def wake_threads(products: int) -> Iterator[None]:
    """Compute on all threads, or on one if the largest operation has too few ``products`` to share."""
    threads = torch.get_num_threads()
    if products < ONE_THREAD_BELOW:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _cut_row(row: list[int], ends: set[int]) -> list[int]:
    """Return the tokens up to and including an end token; -1 marks tokens that were not sampled."""
    for position, token in enumerate(row):
        if token in ends:
            return row[: position + 1]
        if token < 0:
            return row[:position]
    return row


def _select(states: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Return ``states[rows]``: of large rows index_select copies four times as fast on a CPU."""
    return states.index_select(0, rows)


def _extend(states: torch.Tensor, room: int) -> torch.Tensor:
    rows, heads, tokens, width = states.shape
    extended = states.new_empty(rows, heads, tokens + room, width)
    extended[:, :, :tokens] = states
    return extended


def sees(position: torch.Tensor, keys: torch.Tensor, window: int | None) -> torch.Tensor:
    """Return which keys a query sees: none after it and, with a window, only that many before it."""
    seen = keys <= position
    return seen if window is None else seen & (position - keys < window)


def attend_masked(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    mask: torch.Tensor | None,
    scale: float,
    causal: bool = False,
) -> torch.Tensor:
    """Attend over (rows, heads, tokens, width); query heads share key heads in groups."""
    return scaled_dot_product_attention(
        q, k, v, attn_mask=mask, is_causal=causal, scale=scale, enable_gqa=q.size(1) != k.size(1)
    )


def _rotate(x: torch.Tensor, table: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Rotary position embedding (arXiv 2104.09864) of (rows, heads, tokens, width)."""
    cos, sin = (angles.unsqueeze(1) for angles in table)
    left, right = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-right, left], dim=-1) * sin
