"""How a step's rollouts are divided into passes through the model, and how their losses add up."""

from __future__ import annotations

from collections.abc import Sequence


def micro_batches(groups: Sequence[Sequence[int]], lengths: Sequence[int], most: int) -> list[list[int]]:
    """Rows by pass, in batches of at most ``most`` tokens; a row that alone is longer is a batch of its own.

    ``groups`` hold the rows of one prompt each, ``lengths`` the tokens of every row, prompt included. A group
    is split only where it does not fit. Groups of like length go together, which keeps padding small.
    """
    batches: list[list[int]] = []
    width = 0
    for group in sorted(groups, key=lambda group: max(lengths[row] for row in group), reverse=True):
        for piece in _pieces(group, lengths, most):
            longest = max(lengths[row] for row in piece)
            if batches and (len(batches[-1]) + len(piece)) * max(width, longest) <= most:
                batches[-1] += piece
                width = max(width, longest)
            else:
                batches.append(list(piece))
                width = longest
    return batches


def _pieces(group: Sequence[int], lengths: Sequence[int], most: int) -> list[Sequence[int]]:
    size = max(1, most // max(lengths[row] for row in group))
    return [group[start : start + size] for start in range(0, len(group), size)]


def loss_weight(loss_type: str, rows: int, of_rows: int, tokens: float, of_tokens: float) -> float:
    """What the loss of one pass counts for in the step's, so that the sum is the loss of a single pass.

    ``dapo`` is normalised by the step's tokens already; ``bnpo`` is a mean over the pass's tokens, the others
    are means over its rows.
    """
    if loss_type == "dapo":
        return 1.0
    return tokens / max(of_tokens, 1.0) if loss_type == "bnpo" else rows / of_rows
