"""Metrics of a step's episodes (``docs/metrics.md``)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import get_args

from workers.contract.environments import EndReason, EpisodeRecord, ToolCall, Turn
from workers.engine.episodes.episode import REFUSED_ERROR

LIMITS = ("turn_limit", "call_limit", "token_limit")
Played = tuple[str, EpisodeRecord]
"""The id of the row, which is the task, and the episode."""


def measure_episodes(played: Sequence[Played], tools: Sequence[str]) -> dict[str, float]:
    """Return the metrics of episodes; empty without any. ``tools`` are those that the prompts offer."""
    if not played:
        return {}
    records = [record for _, record in played]
    calls = [pair for record in records for pair in pair_calls(record)]
    values = {
        "episodes/turns": fmean(sum(t.role == "assistant" for t in r.turns) for r in records),
        "episodes/tool_calls": len(calls) / len(records),
        "episodes/cut_share": fmean(record.end in LIMITS for record in records),
        "episodes/determinism_failures": float(count_determinism_failures(played)),
    }
    for reason in get_args(EndReason):
        values[f"episodes/end/{reason}"] = fmean(record.end == reason for record in records)
    if calls:
        values["episodes/tool_error_share"] = fmean(bool(result.error) for _, result in calls)
        values["episodes/repeated_call_share"] = sum(map(count_repeated, records)) / len(calls)
    return values | _measure_tools(calls, len(records), tools)


def _measure_tools(
    calls: Sequence[tuple[ToolCall, Turn]], episodes: int, tools: Sequence[str]
) -> dict[str, float]:
    """Return calls per episode and the share of errors of each tool; others count as ``unknown``."""
    errors: dict[str, list[bool]] = {tool: [] for tool in tools}
    for call, result in calls:
        errors.setdefault(call.name if call.name in tools else "unknown", []).append(bool(result.error))
    values = {f"tools/{tool}/calls": len(failed) / episodes for tool, failed in errors.items()}
    return values | {f"tools/{tool}/error_share": fmean(failed) for tool, failed in errors.items() if failed}


def pair_calls(record: EpisodeRecord) -> Iterator[tuple[ToolCall, Turn]]:
    """Yield each call with its result, in order; calls that were never made are left out."""
    waiting: list[ToolCall] = []
    for turn in record.turns:
        if turn.role == "assistant":
            waiting = list(turn.tool_calls)
        elif turn.role == "tool" and waiting:
            yield waiting.pop(0), turn


def count_repeated(record: EpisodeRecord) -> int:
    """Return the number of calls that equal an earlier one of the same episode."""
    calls = [_describe_call(call) for call, _ in pair_calls(record)]
    return len(calls) - len(set(calls))


def _describe_call(call: ToolCall) -> str:
    return json.dumps([call.name, call.arguments, call.text], sort_keys=True)


def count_determinism_failures(played: Sequence[Played]) -> int:
    """Return the number of answers that differ from another episode's after the same acts in a task."""
    known: dict[tuple[str, ...], str] = {}
    return sum(
        known.setdefault((row, *acts), answer) != answer
        for row, record in played
        for acts, answer in _list_answers(record)
    )


def _list_answers(record: EpisodeRecord) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield all that the environment was told so far, and what it answered to the last of it."""
    acts: list[str] = []
    waiting: list[ToolCall] = []
    for turn in record.turns:
        if turn.role == "assistant":
            waiting = list(turn.tool_calls)
            acts += [] if waiting else [f"says {turn.content}"]
            continue
        if turn.role == "tool":
            call = waiting.pop(0) if waiting else None
            if call is None or call.arguments is None or turn.error == REFUSED_ERROR:
                continue
            acts.append(_describe_call(call))
        yield tuple(acts), turn.content
