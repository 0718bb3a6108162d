"""Sampling of the next tokens: each row with its own settings, grammar and random numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from workers.serve.rows import Row, Scores

MIN_TEMPERATURE = 1e-9  # used for 0: gives the most likely token
MIN_TOP_P = 1e-9  # used for 0: gives the most likely token
NUCLEUS = 1024  # most likely tokens among which a nucleus is looked for before the whole vocabulary is sorted


def sample(logits: torch.Tensor, rows: Sequence[Row]) -> list[tuple[int, Scores | None]]:
    """Sample one token per row from ``logits`` (rows, vocabulary), with its scores if the row wants them.

    A uniform number of the row's own is looked up in its cumulative distribution, in the vocabulary's order.
    The sample therefore does not depend on the other rows of the batch.
    """
    scores = _mask_forbidden(_change_logits(logits.float(), rows), rows)
    temperature = _column([max(row.settings.temperature, MIN_TEMPERATURE) for row in rows], scores)
    probabilities = torch.softmax((scores - scores.amax(-1, keepdim=True)) / temperature, dim=-1)
    probabilities = _cut_to_nucleus(probabilities, rows)
    cumulative = probabilities.cumsum(-1, dtype=torch.float64)
    total = cumulative[:, -1:]
    target = _column([row.random.random() for row in rows], cumulative) * total
    # Rounding may reach the total, behind which there is no token.
    target = torch.minimum(target, torch.nextafter(total, torch.zeros_like(total)))
    tokens = torch.searchsorted(cumulative, target, right=True).flatten()
    found = _score(logits, probabilities, total, tokens, rows)
    return list(zip(tokens.tolist(), found, strict=True))


def _column(values: list[float], like: torch.Tensor) -> torch.Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device).unsqueeze(1)


def _change_logits(scores: torch.Tensor, rows: Sequence[Row]) -> torch.Tensor:
    """Add each row's bias, and subtract its penalties for the tokens that it has generated."""
    if not any(row.settings.changes_logits for row in rows):
        return scores
    scores = scores.clone()
    for number, row in enumerate(rows):
        changes = dict(row.settings.bias)
        for token, count in row.counts.items():
            penalty = row.settings.frequency_penalty * count + row.settings.presence_penalty
            changes[token] = changes.get(token, 0.0) - penalty
        if changes:
            tokens = torch.tensor(list(changes), device=scores.device)
            scores[number, tokens] += torch.tensor(list(changes.values()), device=scores.device)
    return scores


def _mask_forbidden(scores: torch.Tensor, rows: Sequence[Row]) -> torch.Tensor:
    """Set the scores of tokens that a row's grammar forbids to minus infinity."""
    bound = [number for number, row in enumerate(rows) if row.constraint is not None]
    if not bound:
        return scores
    allowed = torch.from_numpy(np.stack([rows[number].mask_tokens(scores.shape[1]) for number in bound]))
    masked = scores[bound].masked_fill(~allowed.to(scores.device), -torch.inf)
    return scores.index_copy(0, torch.tensor(bound, device=scores.device), masked)


def _cut_to_nucleus(probabilities: torch.Tensor, rows: Sequence[Row]) -> torch.Tensor:
    """Keep a row's most likely tokens, as few as reach ``top_p`` together (arXiv 1904.09751)."""
    cut = [number for number, row in enumerate(rows) if row.settings.top_p < 1]
    if not cut:
        return probabilities
    chosen = probabilities[cut]
    top_p = _column([max(rows[number].settings.top_p, MIN_TOP_P) for number in cut], chosen)
    least = _find_least(chosen, top_p)
    indices = torch.tensor(cut, device=chosen.device)
    return probabilities.index_copy(0, indices, chosen.masked_fill(chosen < least, 0.0))


def _find_least(probabilities: torch.Tensor, top_p: torch.Tensor) -> torch.Tensor:
    """Return the smallest probability within each row's nucleus, (rows, 1)."""
    size = min(NUCLEUS, probabilities.shape[1])
    while True:
        ordered = probabilities.topk(size, dim=-1).values
        before = ordered.cumsum(-1, dtype=torch.float64) - ordered
        inside = (before < top_p).sum(-1, keepdim=True)
        if size == probabilities.shape[1] or int(inside.max()) < size:
            return ordered.gather(1, (inside - 1).clamp(min=0))
        size = probabilities.shape[1]


def _score(
    logits: torch.Tensor,
    probabilities: torch.Tensor,
    total: torch.Tensor,
    tokens: torch.Tensor,
    rows: Sequence[Row],
) -> list[Scores | None]:
    """Return log-probabilities of the tokens for the rows that want them."""
    found: list[Scores | None] = [None] * len(rows)
    wanted = [number for number, row in enumerate(rows) if row.settings.scores]
    if not wanted:
        return found
    picked = tokens[wanted].unsqueeze(1)
    sampled = (probabilities[wanted].gather(1, picked).double() / total[wanted]).log()
    own = logits[wanted].float().log_softmax(-1)
    most = max(rows[number].settings.top for number in wanted)
    values, indices = (part.tolist() for part in own.topk(min(most, own.shape[1]), dim=-1))
    pairs = zip(sampled[:, 0].tolist(), own.gather(1, picked)[:, 0].tolist(), strict=True)
    for place, (number, (as_sampled, model)) in enumerate(zip(wanted, pairs, strict=True)):
        top = tuple(zip(indices[place], values[place], strict=True))[: rows[number].settings.top]
        found[number] = Scores(as_sampled, model, top)
    return found
