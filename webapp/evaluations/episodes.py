"""Episodes of both models on one task: counted over all rows, and read in pairs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from webapp.core.episodes.records import END_LABELS, EpisodePairs, find_parting_turn
from webapp.core.input_checks import parse_whole_number
from webapp.jobs.models import ComparedRow
from workers.contract.environments import EpisodeRecord


@dataclass(frozen=True)
class EndShare:
    """The shares of both models' episodes that ended for one reason."""

    reason: str
    label: str
    base: float
    tuned: float


def list_ends(pairs: EpisodePairs) -> list[EndShare]:
    """Return the reasons for which episodes ended, the most common first."""
    base, tuned = pairs.base.ended, pairs.tuned.ended
    shares = [
        EndShare(reason, END_LABELS.get(reason, reason), base.get(reason, 0.0), tuned.get(reason, 0.0))
        for reason in base | tuned
    ]
    return sorted(shares, key=lambda share: -(share.base + share.tuned))


def describe_parting(pairs: EpisodePairs) -> str:
    """Return in which turns the first episodes of both models part, in words."""
    rows = sum(pairs.parted.values())
    if not rows:
        return "Both models play every task in the same way."
    turns = sorted(turn for turn, count in pairs.parted.items() for _ in range(count))
    most = max(pairs.parted.items(), key=lambda each: (each[1], -each[0]))[0]
    same = f" On {pairs.same} row{'s' * (pairs.same != 1)} they are the same." if pairs.same else ""
    return (
        f"The first episodes part on {rows} row{'s' * (rows != 1)}, at the median in turn "
        f"{turns[len(turns) // 2]}, most often in turn {most}.{same}"
    )


@dataclass(frozen=True)
class Side:
    """One model's sample in a pair, with its episode."""

    title: str
    sample: dict[str, Any]
    episode: EpisodeRecord | None


@dataclass(frozen=True)
class Pair:
    """A sample of each model for one row. ``numbers`` are those of all pairs of the row, from 1."""

    number: int
    numbers: list[int]
    sides: list[Side]
    parting_turn: int | None


def select_pair(row: ComparedRow, wanted: str) -> Pair | None:
    """Return the pair with this number, otherwise the first; None for single turns."""
    if row.episodes is None:
        return None
    numbers = list(range(1, max(len(row.base), len(row.tuned)) + 1))
    number = parse_whole_number(wanted, len(numbers)) or 1
    sides = list(_list_sides(row, number - 1))
    episodes = [side.episode for side in sides if side.episode]
    parting = find_parting_turn(*episodes) if len(episodes) > 1 else None
    return Pair(number, numbers, sides, parting)


def _list_sides(row: ComparedRow, index: int) -> Iterator[Side]:
    assert row.episodes, f"{row} has single turns"
    base = row.evaluation.job.base_label
    sides = ((base, row.base, row.episodes.base), ("Tuned", row.tuned, row.episodes.tuned))
    for title, samples, episodes in sides:
        if index < len(samples):
            yield Side(title, samples[index], episodes[index])
