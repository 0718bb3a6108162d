"""Log-probabilities of a batch with each prompt computed once, forward and backward.

A GRPO batch repeats a prompt once for every rollout of its group. Causal attention makes the prompt's hidden
states independent of what follows, so that one copy serves all rollouts: the same numbers and, since autograd
sums what flows back into the one copy, the same gradients.

All tokens are laid out in one sequence without padding: first the prefixes (each prompt less its last token),
then the suffixes (the prompt's last token and the completion less its own last token). So every position that
is scored has exactly one label. Everything but attention works token by token; attention is ``attend`` below,
registered with transformers under ``NAME``.
"""

from __future__ import annotations

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
    """Where the tokens of a batch lie in the one sequence, as indices and masks for attention.

    ``prefixes`` (prompts, longest prefix) and ``suffixes`` (rows, longest suffix) hold places in the
    sequence, padded on the right with 0; ``lengths`` are the prefixes' lengths and ``prompt_of`` says whose
    prefix a row continues.
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
        """Tokens that go through the model."""
        return int(self.ids.numel())


def lay_out(
    prompt_ids: torch.Tensor, prompt_mask: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor
) -> Layout:
    """The layout of prompts (rows, P; padded on the left) and completions (rows, C; padded on the right)."""
    device = ids.device
    rows = [row[kept] for row, kept in zip(prompt_ids.cpu(), prompt_mask.bool().cpu(), strict=True)]
    completions = [row[kept] for row, kept in zip(ids.cpu(), mask.bool().cpu(), strict=True)]
    number: dict[tuple[int, ...], int] = {}
    prompt_of = [number.setdefault(tuple(row.tolist()), len(number)) for row in rows]
    prompts = [torch.tensor(prompt) for prompt in number]
    prefixes = [prompt[:-1] for prompt in prompts]
    suffixes = [torch.cat([row[-1:], c])[: len(c)] for row, c in zip(rows, completions, strict=True)]
    starts = [len(row) - 1 for row in rows]
    places = [torch.arange(len(prefix)) for prefix in prefixes] + [
        torch.arange(len(suffix)) + start for suffix, start in zip(suffixes, starts, strict=True)
    ]
    shared = sum(map(len, prefixes))
    total = shared + sum(map(len, suffixes))
    return Layout(
        ids=torch.cat([*prefixes, *suffixes])[None].to(device),
        positions=torch.cat(places)[None].to(device),
        labels=torch.cat(completions)[None].to(device),
        scored=torch.arange(shared, total, device=device),
        prefixes=_padded(prefixes, 0).to(device),
        lengths=torch.tensor(list(map(len, prefixes)), device=device),
        suffixes=_padded(suffixes, shared).to(device),
        suffix_lengths=torch.tensor(list(map(len, suffixes)), device=device),
        prompt_of=torch.tensor(prompt_of, device=device),
    )


def _padded(pieces: list[torch.Tensor], start: int) -> torch.Tensor:
    """(pieces, longest): each token's place in the sequence that begins at ``start``, 0 where none is."""
    places = torch.zeros(len(pieces), max(map(len, pieces)), dtype=torch.long)
    for row, piece in zip(places, pieces, strict=True):
        row[: len(piece)] = torch.arange(start, start + len(piece))
        start += len(piece)
    return places


def per_token(
    model: Any, layout: Layout, mask: torch.Tensor, **options: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities and entropies (rows, C) of completions, 0 where ``mask`` (rows, C) is."""
    outputs = model(
        input_ids=layout.ids,
        position_ids=layout.positions,
        attention_mask=layout.ids.new_zeros(1, 1, 1, 1),  # of four dimensions: transformers builds none
        shift_labels=layout.labels,
        fused_lm_head=True,
        layout=layout,
        **options,
    )
    places = mask.bool().flatten().nonzero()[:, 0]

    def spread(values: torch.Tensor) -> torch.Tensor:
        return values.new_zeros(mask.numel()).index_copy(0, places, values[0]).view(mask.shape)

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
    """Attention over a ``layout``; without one, what transformers does by itself."""
    if layout is None:
        output: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, **options
        )
        return output
    window, scale = options.get("sliding_window"), options.get("scaling")
    q, k, v = (states[0].transpose(0, 1) for states in (query, key, value))
    result = torch.empty_like(q)
    if layout.prefixes.size(1):
        head = _prefixes(q, k, v, layout, window, scale)
        valid = _valid(layout.lengths, layout.prefixes.size(1))
        result = result.index_copy(0, layout.prefixes[valid], head[valid])
    tail = _suffixes(q, k, v, layout, window, scale)
    valid = _valid(layout.suffix_lengths, layout.suffixes.size(1))
    return result.index_copy(0, layout.suffixes[valid], tail[valid])[None], None


def _prefixes(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, layout: Layout, window: int | None, scale: float | None
) -> torch.Tensor:
    """(prompts, longest prefix, heads, width). Padding lies behind, where causal attention does not look."""
    places = layout.prefixes
    q, k, v = (states[places].transpose(1, 2) for states in (q, k, v))
    mask = None
    if window is not None and places.size(1) > window:
        at = torch.arange(places.size(1), device=q.device)
        mask = _seen(at[:, None], at[None], window)
    return _attention(q, k, v, mask, scale)


def _suffixes(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, layout: Layout, window: int | None, scale: float | None
) -> torch.Tensor:
    """(rows, longest suffix, heads, width): each row sees its prompt's prefix and itself."""
    prefixes = layout.prefixes[layout.prompt_of]
    places = torch.cat([prefixes, layout.suffixes], dim=1)
    start = layout.lengths[layout.prompt_of][:, None]
    before = torch.arange(prefixes.size(1), device=q.device)[None].expand(len(start), -1)
    own = start + torch.arange(layout.suffixes.size(1), device=q.device)[None]
    valid = torch.cat([before < start, torch.ones_like(own, dtype=torch.bool)], dim=1)
    keys = torch.cat([before, own], dim=1)
    mask = _seen(own[:, :, None], keys[:, None], window) & valid[:, None]
    q = q[layout.suffixes].transpose(1, 2)
    k, v = (states[places].transpose(1, 2) for states in (k, v))
    return _attention(q, k, v, mask[:, None], scale)


def _seen(at: torch.Tensor, keys: torch.Tensor, window: int | None) -> torch.Tensor:
    """Which keys a query sees: those not behind it and, with a window, fewer than that many before it."""
    seen = keys <= at
    return seen if window is None else seen & (at - keys < window)


def _attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None, scale: float | None
) -> torch.Tensor:
    output = scaled_dot_product_attention(
        q, k, v, attn_mask=mask, is_causal=mask is None, scale=scale, enable_gqa=q.size(1) != k.size(1)
    )
    return output.transpose(1, 2)


def _valid(lengths: torch.Tensor, longest: int) -> torch.Tensor:
    return torch.arange(longest, device=lengths.device)[None] < lengths[:, None]


def prepare(model: Any) -> None:
    """Makes ``model``, not yet wrapped, compute layouts; without one it computes what it always did."""
    model.set_attn_implementation(NAME)
    model.base_model.register_forward_hook(keep_scored, with_kwargs=True)


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, sdpa_mask)


def keep_scored(module: Any, args: Any, kwargs: dict[str, Any], output: Any) -> Any:
    """A forward hook for the backbone: only positions that are scored go on to the head."""
    if (layout := kwargs.get("layout")) is not None:
        output.last_hidden_state = output.last_hidden_state[:, layout.scored]
    return output
