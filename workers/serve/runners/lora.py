"""Linear layers with many LoRA adapters at once: every token gets the product of its own adapter."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from workers.engine.fast.architecture import Layer
from workers.serve.adapters import Adapter

Stack = tuple[torch.Tensor, list[torch.Tensor]]
"""A of all adapters (adapters, inputs, parts x rank), and B of each part (adapters, rank, outputs)."""


@dataclass(frozen=True)
class Layout:
    """Tokens of a step sorted by adapter, each adapter's padded to the same number.

    ``gather`` (adapters x most) are tokens, 0 as padding; ``tokens`` are those with an adapter, and
    ``places`` their indices in ``gather``. All are ``None`` if every token has the one adapter.
    """

    adapters: tuple[Adapter, ...]
    gather: torch.Tensor | None = None
    tokens: torch.Tensor | None = None
    places: torch.Tensor | None = None


class Mixer:
    """Decides which adapters a step computes. Stacked weights are reused while the adapters stay the same."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._members: tuple[Adapter, ...] = ()
        self.layout: Layout | None = None

    def arrange(self, owners: Iterable[tuple[Adapter | None, int]]) -> None:
        """Lay out a step by the owners of its tokens: pairs of an adapter and a number of tokens."""
        tokens: dict[Adapter, list[int]] = {}
        total = 0
        for adapter, count in owners:
            if adapter:
                tokens.setdefault(adapter, []).extend(range(total, total + count))
            total += count
        if not tokens:
            self.layout = None
            return
        self._choose_members(tokens)
        if len(self._members) == 1 and len(tokens[self._members[0]]) == total:
            self.layout = Layout(self._members)
        else:
            self.layout = self._lay_out(tokens)

    def _choose_members(self, active: Iterable[Adapter]) -> None:
        """Keep the present members if they contain the active adapters and few others."""
        wanted = list(active)
        if not set(wanted) <= set(self._members) or len(self._members) > 2 * len(wanted):
            self._members = tuple(wanted)

    def _lay_out(self, tokens: dict[Adapter, list[int]]) -> Layout:
        most = max(map(len, tokens.values()))
        gather: list[int] = []
        places: list[int] = []
        for number, adapter in enumerate(self._members):
            own = tokens.get(adapter, [])
            places += range(number * most, number * most + len(own))
            gather += own + [0] * (most - len(own))
        flat = [token for adapter in self._members for token in tokens.get(adapter, [])]
        indices = (torch.tensor(each, device=self._device) for each in (gather, flat, places))
        return Layout(self._members, *indices)


class AdaptedLayer:
    """A layer of the base, or several with the same input (``names``), plus each token's own adapter."""

    def __init__(self, base: Layer, names: Sequence[str], outputs: Sequence[int], mixer: Mixer) -> None:
        self._base, self._names, self._outputs, self._mixer = base, names, outputs, mixer
        self._stacked: tuple[tuple[Adapter, ...], Stack | None] = ((), None)

    @property
    def size(self) -> int:
        """Number of the base's weights."""
        return self._base.size

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        output = self._base(x)
        layout = self._mixer.layout
        stack = self._stack(layout.adapters, x) if layout else None
        if layout and stack:
            self._add(output.view(-1, output.size(-1)), x.reshape(-1, x.size(-1)), layout, stack)
        return output

    def _add(self, output: torch.Tensor, x: torch.Tensor, layout: Layout, stack: Stack) -> None:
        """Add the adapters' products to ``output`` (tokens, outputs)."""
        a, parts = stack
        x = x.to(a.dtype)
        if layout.gather is None or layout.tokens is None or layout.places is None:
            output.add_(_multiply(x[None], a, parts)[0])
            return
        padded = x.index_select(0, layout.gather).view(len(a), -1, x.size(-1))
        added = _multiply(padded, a, parts).flatten(0, 1)
        output.index_add_(0, layout.tokens, added.index_select(0, layout.places).to(output.dtype))

    def _stack(self, adapters: tuple[Adapter, ...], like: torch.Tensor) -> Stack | None:
        """Return the stacked weights; ``None`` if none of the adapters changes this layer."""
        if self._stacked[0] is not adapters:
            self._stacked = (adapters, self._build_stack(adapters, like))
        return self._stacked[1]

    def _build_stack(self, adapters: tuple[Adapter, ...], like: torch.Tensor) -> Stack | None:
        if not any(name in adapter.weights for adapter in adapters for name in self._names):
            return None
        rank = max(adapter.config.r for adapter in adapters)
        a = torch.zeros(len(adapters), len(self._names), rank, like.size(-1))
        parts = [torch.zeros(len(adapters), rank, outputs) for outputs in self._outputs]
        for number, adapter in enumerate(adapters):
            for part, name in enumerate(self._names):
                if name in adapter.weights:
                    own_a, own_b = adapter.weights[name]
                    a[number, part, : len(own_a)] = own_a
                    parts[part][number, : own_b.size(1)] = own_b.t() * adapter.scale
        stacked = a.flatten(1, 2).transpose(1, 2).contiguous().to(like.device)
        return stacked, [part.to(like.device) for part in parts]


def _multiply(x: torch.Tensor, a: torch.Tensor, parts: list[torch.Tensor]) -> torch.Tensor:
    """Return B A x of each adapter: (adapters, tokens, outputs of all parts)."""
    inner = torch.bmm(x, a)
    if len(parts) == 1:
        return torch.bmm(inner, parts[0])
    pieces = inner.chunk(len(parts), dim=-1)
    return torch.cat([torch.bmm(piece, b) for piece, b in zip(pieces, parts, strict=True)], dim=-1)
