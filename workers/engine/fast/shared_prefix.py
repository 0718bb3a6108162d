"""Log-probabilities of a batch with each prompt computed once, forward and backward.

A GRPO batch repeats a prompt once for every rollout of its group. With causal attention, the hidden states of
a prompt do not depend on what follows, so one copy serves all rollouts: with the same numbers and, since
autograd sums what flows back into the one copy, the same gradients.

All tokens are in one sequence without padding: first the prefixes (each prompt without its last token), then
the suffixes (the prompt's last token and the completion without its own last token). Every scored position
therefore has exactly one label. Everything but attention works token by token; attention is ``attend`` below,
registered with transformers as ``NAME``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "groove_shared_prefix"


@dataclass(frozen=True)
class Layout:
    """Indices of a batch's tokens in the one sequence, and their positions in their own rows.

    ``prefixes`` (prompts, longest prefix) and ``suffixes`` (rows, longest suffix) hold indices into the
    sequence, padded on the right with 0. ``lengths`` are the lengths of the prefixes, and ``prompt_of`` is
    the prompt whose prefix a row continues.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    labels: torch.Tensor
    scored: torch.Tensor
    prefixes: torch.Tensor
    lengths: torch.Tensor
    suffixes: torch.Tensor
    suffix_lengths: torch.Tensor
    prompt_of: torch.Tensor

    @property
    def tokens(self) -> int:
        """Number of tokens that go through the model."""
        return int(self.ids.numel())


def lay_out(
    prompt_ids: torch.Tensor,
    prompt_mask: torch.Tensor,
    ids: torch.Tensor,
    mask: torch.Tensor,
    own: torch.Tensor | None = None,
) -> Layout:
    """Lay out prompts (rows, P; padded on the left) and completions (rows, C; padded on the right).

    With ``own`` (rows, C) only those tokens of the completions are scored.
    """
    device = ids.device
    rows = [row[own] for row, own in zip(prompt_ids.cpu(), prompt_mask.bool().cpu(), strict=True)]
    completions = [row[own] for row, own in zip(ids.cpu(), mask.bool().cpu(), strict=True)]
    number: dict[tuple[int, ...], int] = {}
    prompt_of = [number.setdefault(tuple(row.tolist()), len(number)) for row in rows]
    prompts = [torch.tensor(prompt) for prompt in number]
    prefixes = [prompt[:-1] for prompt in prompts]
    suffixes = [torch.cat([row[-1:], c])[: len(c)] for row, c in zip(rows, completions, strict=True)]
    starts = [len(row) - 1 for row in rows]
    positions = [torch.arange(len(prefix)) for prefix in prefixes] + [
        torch.arange(len(suffix)) + start for suffix, start in zip(suffixes, starts, strict=True)
    ]
    shared = sum(map(len, prefixes))
    total = shared + sum(map(len, suffixes))
    scored, labels = torch.arange(shared, total), torch.cat(completions)
    if own is not None:
        kept = own.bool().cpu()[mask.bool().cpu()]
        scored, labels = scored[kept], labels[kept]
    return Layout(
        ids=torch.cat([*prefixes, *suffixes])[None].to(device),
        positions=torch.cat(positions)[None].to(device),
        labels=labels[None].to(device),
        scored=scored.to(device),
        prefixes=_index_pieces(prefixes, 0).to(device),
        lengths=torch.tensor(list(map(len, prefixes)), device=device),
        suffixes=_index_pieces(suffixes, shared).to(device),
        suffix_lengths=torch.tensor(list(map(len, suffixes)), device=device),
        prompt_of=torch.tensor(prompt_of, device=device),
    )


def _index_pieces(pieces: list[torch.Tensor], start: int) -> torch.Tensor:
    """Return (pieces, longest): each token's index in the sequence from ``start`` on, 0 for padding."""
    indices = torch.zeros(len(pieces), max(map(len, pieces)), dtype=torch.long)
    for row, piece in zip(indices, pieces, strict=True):
        row[: len(piece)] = torch.arange(start, start + len(piece))
        start += len(piece)
    return indices


def per_token(
    model: Any, layout: Layout, mask: torch.Tensor, **options: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return log-probabilities and entropies (rows, C) of completions, 0 where ``mask`` (rows, C) is 0."""
    outputs = model(
        input_ids=layout.ids,
        position_ids=layout.positions,
        attention_mask=layout.ids.new_zeros(1, 1, 1, 1),  # has four dimensions, or transformers builds one
        shift_labels=layout.labels,
        fused_lm_head=True,
        layout=layout,
        **options,
    )
    indices = mask.bool().flatten().nonzero()[:, 0]

    def spread(values: torch.Tensor) -> torch.Tensor:
        return values.new_zeros(mask.numel()).index_copy(0, indices, values[0]).view(mask.shape)

    return spread(outputs.log_probs), spread(outputs.entropy)


# --- attention -------------------------------------------------------------------------------------


def attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    layout: Layout | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attend over a ``layout``; without one, as transformers does."""
    if layout is None:
        output: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, **options
        )
        return output
    window, scale = options.get("sliding_window"), options.get("scaling")
    q, k, v = (states[0].transpose(0, 1) for states in (query, key, value))
    result = torch.empty_like(q)
    if layout.prefixes.size(1):
        head = _attend_prefixes(q, k, v, layout, window, scale)
        valid = _not_padding(layout.lengths, layout.prefixes.size(1))
        result = result.index_copy(0, layout.prefixes[valid], head[valid])
    tail = _attend_suffixes(q, k, v, layout, window, scale)
    valid = _not_padding(layout.suffix_lengths, layout.suffixes.size(1))
    return result.index_copy(0, layout.suffixes[valid], tail[valid])[None], None


def _attend_prefixes(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, layout: Layout, window: int | None, scale: float | None
) -> torch.Tensor:
    """Return (prompts, longest prefix, heads, width). Causal attention ignores padding on the right."""
    indices = layout.prefixes
    q, k, v = (states[indices].transpose(1, 2) for states in (q, k, v))
    mask = None
    if window is not None and indices.size(1) > window:
        at = torch.arange(indices.size(1), device=q.device)
        mask = _sees(at[:, None], at[None], window)
    return _attention(q, k, v, mask, scale)


def _attend_suffixes(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, layout: Layout, window: int | None, scale: float | None
) -> torch.Tensor:
    """Return (rows, longest suffix, heads, width): each row sees its prompt's prefix and itself."""
    prefixes = layout.prefixes[layout.prompt_of]
    indices = torch.cat([prefixes, layout.suffixes], dim=1)
    start = layout.lengths[layout.prompt_of][:, None]
    before = torch.arange(prefixes.size(1), device=q.device)[None].expand(len(start), -1)
    own = start + torch.arange(layout.suffixes.size(1), device=q.device)[None]
    valid = torch.cat([before < start, torch.ones_like(own, dtype=torch.bool)], dim=1)
    keys = torch.cat([before, own], dim=1)
    mask = _sees(own[:, :, None], keys[:, None], window) & valid[:, None]
    q = q[layout.suffixes].transpose(1, 2)
    k, v = (states[indices].transpose(1, 2) for states in (k, v))
    return _attention(q, k, v, mask[:, None], scale)


def _sees(at: torch.Tensor, keys: torch.Tensor, window: int | None) -> torch.Tensor:
    """Return which keys a query sees: none after it and, with a window, only that many before it."""
    seen = keys <= at
    return seen if window is None else seen & (at - keys < window)


def _attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None, scale: float | None
) -> torch.Tensor:
    output = scaled_dot_product_attention(
        q, k, v, attn_mask=mask, is_causal=mask is None, scale=scale, enable_gqa=q.size(1) != k.size(1)
    )
    return output.transpose(1, 2)


def _not_padding(lengths: torch.Tensor, longest: int) -> torch.Tensor:
    return torch.arange(longest, device=lengths.device)[None] < lengths[:, None]


def prepare(model: Any) -> None:
    """Make ``model``, not yet wrapped, compute layouts. Without a layout it computes as before."""
    model.set_attn_implementation(NAME)
    model.base_model.register_forward_hook(keep_scored, with_kwargs=True)


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, sdpa_mask)


def keep_scored(module: Any, args: Any, kwargs: Mapping[str, Any], output: Any) -> Any:
    """Forward hook of the backbone: pass only scored positions to the head."""
    if (layout := kwargs.get("layout")) is not None:
        output.last_hidden_state = output.last_hidden_state[:, layout.scored]
    return output
