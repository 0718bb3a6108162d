"""Division of a step's rollouts into passes through the model, and the weights of their losses."""

from __future__ import annotations

from collections.abc import Sequence


def plan_passes(groups: Sequence[Sequence[int]], lengths: Sequence[int], most: int) -> list[list[int]]:
    """Return the rows of each pass, at most ``most`` tokens; a longer row is a pass of its own.

    ``groups`` hold the rows of one prompt each, ``lengths`` the tokens of every row, prompt included. A group
    is split only if it does not fit. Groups of similar length share a pass, which keeps padding small.
    """
    passes: list[list[int]] = []
    width = 0
    for group in sorted(groups, key=lambda group: max(lengths[row] for row in group), reverse=True):
        size = max(1, most // max(lengths[row] for row in group))
        for first in range(0, len(group), size):
            piece = group[first : first + size]
            longest = max(lengths[row] for row in piece)
            if passes and (len(passes[-1]) + len(piece)) * max(width, longest) <= most:
                passes[-1] += piece
                width = max(width, longest)
            else:
                passes.append(list(piece))
                width = longest
    return passes


def loss_weight(loss_type: str, rows: int, of_rows: int, tokens: float, of_tokens: float) -> float:
    """Return the weight of one pass's loss, such that the weighted sum is the loss of a single pass.

    TRL normalises ``dapo`` by the step's tokens already. ``bnpo`` is a mean over the pass's tokens, the other
    losses are means over its rows.
    """
    if loss_type == "dapo":
        return 1.0
    return tokens / max(of_tokens, 1.0) if loss_type == "bnpo" else rows / of_rows
