"""Sampling of several turns: rows continue a few prompts, and their keys and values are kept between turns.

A prompt's keys are held once for all its rows, as in ``SharedCache``. A row's own keys lie in slots from 0
on, whatever the lengths of other rows: tokens that the model did not write can be added between its turns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn.functional import pad

from workers.engine.fast.architecture import Block
from workers.engine.fast.decoder import COMPACT_BELOW, Decoder, Prefix, sees, wake_threads

MAX_SCORES = 1 << 26  # of one layer's attention while tokens are added: 256 MiB in float32
SLOTS = 64  # the cache grows by as many tokens at least


@dataclass(frozen=True)
class WrittenTurn:
    """Token ids of a turn, its end token included, and the log-probability of each."""

    ids: list[int]
    logps: list[float]


class SessionCache:
    """Keys and values of rows that continue prompts. ``used`` are the slots that a row has filled."""

    def __init__(
        self, blocks: list[Block], prefix: Prefix, lengths: torch.Tensor, prompt_of: torch.Tensor
    ) -> None:
        self.blocks, self.prefix, self.lengths = blocks, prefix, lengths
        rows, keys = len(prompt_of), prefix[0][0]
        shape = (rows, keys.size(1), 0, keys.size(3))
        self.own: Prefix = [(keys.new_zeros(shape), keys.new_zeros(shape)) for _ in prefix]
        self.used = torch.zeros(rows, dtype=torch.long, device=keys.device)
        self._arrange(prompt_of)

    def _arrange(self, prompt_of: torch.Tensor) -> None:
        """Find each row's place among the rows of its prompt: all prompts get equally many places."""
        self.prompt_of = prompt_of
        self.starts = self.lengths[prompt_of]
        prompts, number = prompt_of.tolist(), list[int]()
        seen: dict[int, int] = {}
        for prompt in prompts:
            number.append(seen.get(prompt, 0))
            seen[prompt] = number[-1] + 1
        self.most = max(seen.values())
        places = [prompt * self.most + own for prompt, own in zip(prompts, number, strict=True)]
        fills = places == list(range(len(self.lengths) * self.most))
        self.places = None if fills else torch.tensor(places, device=prompt_of.device)

    def select(self, rows: torch.Tensor) -> SessionCache:
        """Return a copy of these rows, with the prompts that they continue."""
        kept, prompt_of = torch.unique(self.prompt_of[rows], return_inverse=True)
        prefix = self.prefix
        if len(kept) < len(self.lengths):
            prefix = [(k.index_select(0, kept), v.index_select(0, kept)) for k, v in prefix]
        copy = SessionCache(self.blocks, prefix, self.lengths[kept], prompt_of)
        copy.own = [(k.index_select(0, rows), v.index_select(0, rows)) for k, v in self.own]
        copy.used = self.used[rows]
        return copy

    def put_back(self, rows: torch.Tensor, other: SessionCache, theirs: torch.Tensor) -> None:
        """Copy the rows ``theirs`` of a selection to ``rows``, from the first slot that can differ on."""
        first, end = int(self.used[rows].min()), int(other.used[theirs].max())
        self._reserve(end)
        for pair, source in zip(self.own, other.own, strict=True):
            for each, given in zip(pair, source, strict=True):
                each[rows, :, first:end] = given[theirs, :, first:end]

    def _reserve(self, slots: int) -> None:
        have = self.own[0][0].size(2)
        if slots <= have:
            return
        added = max(slots + SLOTS, have * 3 // 2) - have
        self.own = [(pad(keys, (0, 0, 0, added)), pad(values, (0, 0, 0, added))) for keys, values in self.own]

    def begin(self, offset: int, tokens: int) -> torch.Tensor:
        """Prepare to add ``tokens`` to every row, ``offset`` behind its used slots. Return the positions."""
        device = self.used.device
        self._slots = self.used[:, None] + torch.arange(offset, offset + tokens, device=device)
        self._end = int(self._slots.max()) + 1
        self._reserve(self._end)
        self._rows = torch.arange(len(self.used), device=device)[:, None]
        positions = self.starts[:, None] + self._slots
        before = torch.arange(self.prefix[0][0].size(2), device=device)
        own = torch.arange(self._end, device=device)
        self._hidden = {}
        for window in {block.window for block in self.blocks}:
            prefix = sees(positions[..., None], before, window) & (before < self.starts[:, None, None])
            mine = sees(self._slots[..., None], own, window)
            self._hidden[window] = ~torch.cat([prefix, mine], dim=-1)[:, None, None]
        return positions

    def attend(self, layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """Add tokens; take one softmax over the scores of the prompt's keys and of the row's own keys."""
        block, (keys, values), (own_keys, own_values) = (
            self.blocks[layer],
            self.prefix[layer],
            self.own[layer],
        )
        own_keys[self._rows, :, self._slots] = k.transpose(1, 2)
        own_values[self._rows, :, self._slots] = v.transpose(1, 2)
        own_keys, own_values = own_keys[:, :, : self._end], own_values[:, :, : self._end]
        rows, heads, tokens, width = q.shape
        kv, longest = keys.size(1), keys.size(2)
        q = q.reshape(rows, kv, -1, width) * block.scale
        before = self._unfold(self._fold(q) @ keys.transpose(2, 3), q.size(2))
        scores = torch.cat([before, q @ own_keys.transpose(2, 3)], dim=-1)
        masked = scores.view(rows, kv, heads // kv, tokens, -1).masked_fill_(
            self._hidden[block.window], float("-inf")
        )
        weights = masked.softmax(dim=-1, dtype=torch.float32).to(q.dtype).view(rows, kv, q.size(2), -1)
        before, after = weights.tensor_split([longest], dim=-1)
        seen = self._unfold(self._fold(before) @ values, q.size(2)) + after @ own_values
        return seen.reshape(rows, heads, tokens, width)

    def _fold(self, x: torch.Tensor) -> torch.Tensor:
        """Turn (rows, kv, queries, n) into (prompts, kv, most x queries, n)."""
        _, kv, queries, n = x.shape
        prompts = len(self.lengths)
        if self.places is not None:
            x = x.new_zeros(prompts * self.most, kv, queries, n).index_copy_(0, self.places, x)
        return x.view(prompts, self.most, kv, queries, n).transpose(1, 2).reshape(prompts, kv, -1, n)

    def _unfold(self, x: torch.Tensor, queries: int) -> torch.Tensor:
        prompts, kv, _, n = x.shape
        x = x.view(prompts, kv, self.most, queries, n).transpose(1, 2).reshape(-1, kv, queries, n)
        return x if self.places is None else x.index_select(0, self.places)


class Sessions:
    """Samples turns of ``each`` sessions of every prompt. A session's number counts all, prompt by prompt."""

    def __init__(
        self, decoder: Decoder, prompts: list[list[int]], each: int, check: Callable[[], None] = lambda: None
    ) -> None:
        self._decoder, self._check = decoder, check
        device = decoder.model.norm.weight.device
        lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
        with torch.no_grad():
            hidden, prefix = decoder.prefill(prompts, lengths)
        prompt_of = torch.arange(len(prompts), device=device).repeat_interleave(each)
        self._cache = SessionCache(decoder.model.blocks, prefix, lengths, prompt_of)
        self._hidden = hidden[prompt_of]
        self._open = list(range(len(prompt_of)))
        self._last: dict[int, int] = {}

    @torch.no_grad()
    def write(
        self,
        sessions: list[int],
        added: list[list[int]],
        limits: list[int],
        temperature: float,
        ends: list[int],
    ) -> list[WrittenTurn]:
        """Add tokens to sessions and sample a turn of each, of at most so many tokens. Forget all others."""
        if sessions != self._open:
            index = {session: row for row, session in enumerate(self._open)}
            kept = torch.tensor([index[session] for session in sessions], device=self._hidden.device)
            self._cache, self._hidden = self._cache.select(kept), self._hidden[kept]
            self._open = list(sessions)
        if self._last:
            self._hidden = self._feed(
                [[self._last[s], *more] for s, more in zip(sessions, added, strict=True)]
            )
        turns = self._sample(limits, temperature, ends)
        self._last = {session: turn.ids[-1] for session, turn in zip(sessions, turns, strict=True)}
        return turns

    def _feed(self, pieces: list[list[int]]) -> torch.Tensor:
        """Add tokens to all rows; return the hidden state (rows, hidden) after each row's last one."""
        cache, device = self._cache, self._hidden.device
        counts = torch.tensor(list(map(len, pieces)), device=device)
        longest = int(counts.max())
        ids = torch.tensor([piece + [0] * (longest - len(piece)) for piece in pieces], device=device)
        seen = int((cache.starts + cache.used).max()) + longest
        width = max(1, MAX_SCORES // (len(pieces) * self._decoder.model.heads * seen))
        hidden = torch.empty_like(self._hidden)
        for first in range(0, longest, width):
            self._check()
            x = self._run(ids[:, first : first + width], cache, first)
            last = counts - 1 - first
            rows = ((last >= 0) & (last < x.size(1))).nonzero()[:, 0]
            hidden[rows] = x[rows, last[rows]]
        cache.used = cache.used + counts
        return self._decoder.model.norm(hidden)

    def _run(self, ids: torch.Tensor, cache: SessionCache, offset: int) -> torch.Tensor:
        with wake_threads(ids.numel() * self._decoder.model.blocks[0].gate_up.size):
            return self._decoder.run_layers(ids, cache.begin(offset, ids.size(1)), cache.attend)

    def _sample(self, limits: list[int], temperature: float, ends: list[int]) -> list[WrittenTurn]:
        """Sample until every row has an end token or as many tokens as its limit allows."""
        cache, hidden, device = self._cache, self._hidden, self._hidden.device
        begun = cache.used
        rows, most = torch.arange(len(limits), device=device), torch.tensor(limits, device=device)
        ids = torch.zeros(len(limits), max(limits), dtype=torch.long)
        logps = torch.zeros(ids.shape)
        lengths = most.clone()
        live, ends_at = torch.ones_like(rows, dtype=torch.bool), torch.tensor(ends, device=device)
        for step in range(max(limits)):
            self._check()
            token, logp = self._decoder.draw(hidden, temperature)
            ids[rows.cpu(), step], logps[rows.cpu(), step] = token.cpu(), logp.cpu()
            ended = live & (torch.isin(token, ends_at) | (step + 1 >= most[rows]))
            lengths[rows[ended]] = step + 1
            live &= ~ended
            alive = int(live.sum())
            if not alive:
                break
            if alive < COMPACT_BELOW * len(live):
                left = live.nonzero()[:, 0]
                self._return(rows, cache, (~live).nonzero()[:, 0])
                cache, token, rows, live = cache.select(left), token[left], rows[left], live[left]
            hidden = self._decoder.model.norm(self._run(token[:, None], cache, 0)[:, 0])
            cache.used = cache.used + 1
        self._return(rows, cache, torch.arange(len(rows), device=device))
        self._cache.used = begun + lengths - 1  # a turn's last token is added with what follows it
        return [
            WrittenTurn(own[:length], scores[:length])
            for own, scores, length in zip(ids.tolist(), logps.tolist(), lengths.tolist(), strict=True)
        ]

    def _return(self, rows: torch.Tensor, cache: SessionCache, done: torch.Tensor) -> None:
        """Put rows of a selection back among all rows."""
        if cache is not self._cache:
            self._cache.put_back(rows[done], cache, done)
