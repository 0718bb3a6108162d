"""Episodes as they are stored: cleaned, counted, and compared turn by turn."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from itertools import zip_longest
from statistics import fmean
from typing import TypeVar

from pydantic import BaseModel

from webapp.core.fields import replace_nul
from workers.contract.environments import EpisodeRecord, Turn
from workers.contract.json_types import JsonValue

TOOL_NAME_LENGTH = 64  # of a name that is searched; a model may write any

END_LABELS: dict[str, str] = {
    "finished": "the environment",
    "answered": "an answer",
    "turn_limit": "the limit of turns",
    "call_limit": "the limit of tool calls",
    "token_limit": "the limit of tokens",
    "session_lost": "a lost session",
}
"""``EndReason`` -> what ended the episode, after "ended by"."""

Record = TypeVar("Record", bound=BaseModel)


class EpisodeCounts(BaseModel):
    """Means over the episodes of one model. ``ended`` is the share that ended for each reason."""

    episodes: int
    turns: float
    tool_calls: float
    tool_errors: float
    ended: dict[str, float]


class EpisodePairs(BaseModel):
    """Episodes of two models on the same tasks. ``parted`` counts rows by the turn in which they part."""

    base: EpisodeCounts
    tuned: EpisodeCounts
    same: int
    parted: dict[int, int]


def clean_record(record: Record) -> Record:
    """Return the record without NUL characters, which PostgreSQL cannot store."""
    text = record.model_dump_json()
    if "\\u0000" not in text:
        return record
    return type(record).model_validate(_clean_value(json.loads(text)))


def _clean_value(value: JsonValue) -> JsonValue:
    if isinstance(value, str):
        return replace_nul(value)
    if isinstance(value, list):
        return [_clean_value(each) for each in value]
    if isinstance(value, dict):
        return {replace_nul(key): _clean_value(each) for key, each in value.items()}
    return value


def list_called_tools(episode: EpisodeRecord) -> list[str]:
    """Return the names of the tools that the model called, each once, as search knows them."""
    names = (call.name for turn in episode.turns for call in turn.tool_calls if call.name)
    return list(dict.fromkeys(replace_nul(name)[:TOOL_NAME_LENGTH] for name in names))


def count_calls(episode: EpisodeRecord) -> int:
    """Return the number of tool calls."""
    return sum(len(turn.tool_calls) for turn in episode.turns)


def count_errors(episode: EpisodeRecord) -> int:
    """Return the number of tool calls that failed."""
    return sum(1 for turn in episode.turns if turn.error)


def count_episodes(episodes: Sequence[EpisodeRecord]) -> EpisodeCounts:
    """Return means over at least one episode."""
    ended = Counter(episode.end for episode in episodes)
    return EpisodeCounts(
        episodes=len(episodes),
        turns=fmean(len(episode.turns) for episode in episodes),
        tool_calls=fmean(map(count_calls, episodes)),
        tool_errors=fmean(map(count_errors, episodes)),
        ended={reason: count / len(episodes) for reason, count in ended.most_common()},
    )


def find_parting_turn(one: EpisodeRecord, other: EpisodeRecord) -> int | None:
    """Return the first turn, from 1, whose calls or text differ; None if there is none."""
    pairs = zip_longest(map(_get_content, one.turns), map(_get_content, other.turns))
    return next((number for number, (left, right) in enumerate(pairs, start=1) if left != right), None)


def _get_content(turn: Turn) -> tuple[object, ...]:
    return turn.role, turn.content, turn.tool, turn.tool_calls
