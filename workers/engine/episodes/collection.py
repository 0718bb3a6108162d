"""A step's rollouts in TRL's form, of rows that are played and of rows that are not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from workers.engine.episodes.episode import PlayedEpisode
from workers.engine.prompts.data import Row

SampleTurns = Callable[[list[list[int]]], tuple[list[list[int]], list[list[float]] | None]]


@dataclass(frozen=True)
class SingleTurn:
    """A rollout of one turn, beside episodes."""

    ids: list[int]
    logps: list[float] | None

    @property
    def mask(self) -> list[int]:
        """1 for every token: the model wrote them all."""
        return [1] * len(self.ids)


def collect(
    rows: Sequence[Row],
    prompts: list[list[int]],
    number: int,
    plays: Callable[[Row], bool],
    play: Callable[[list[Row]], list[list[PlayedEpisode]]],
    sample: SampleTurns,
) -> dict[str, list[Any] | None]:
    """Return what TRL's ``rollout_func`` returns; each row is repeated for its ``number`` of rollouts.

    TRL trains on tokens where ``env_mask`` is 1, and passes ``episode`` on to the reward function.
    """
    firsts = range(0, len(rows), number)
    played = [first for first in firsts if plays(rows[first])]
    single = [first for first in firsts if not plays(rows[first])]
    rollouts: dict[int, Sequence[PlayedEpisode | SingleTurn]] = {}
    if single:
        ids, logps = sample([prompts[at] for first in single for at in range(first, first + number)])
        scored: Sequence[list[float] | None] = logps or [None] * len(ids)
        turns = [SingleTurn(*pair) for pair in zip(ids, scored, strict=True)]
        rollouts |= {first: turns[at * number :][:number] for at, first in enumerate(single)}
    if played:
        rollouts |= zip(played, play([rows[first] for first in played]), strict=True)
    collected = [rollout for first in firsts for rollout in rollouts[first]]
    scores = [rollout.logps for rollout in collected]
    return {
        "prompt_ids": prompts,
        "completion_ids": [rollout.ids for rollout in collected],
        "logprobs": None if None in scores else scores,
        "env_mask": [rollout.mask for rollout in collected],
        "episode": [rollout if isinstance(rollout, PlayedEpisode) else None for rollout in collected],
    }
