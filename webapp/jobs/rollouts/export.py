"""Download of rollouts as JSON Lines, episodes with all their turns."""

from __future__ import annotations

import json
from collections.abc import Iterator

from webapp.jobs.models import Rollout
from webapp.jobs.rollouts.search import Matches

BATCH = 100
FIELDS = (
    "step", "index", "group", "row_id", "task", "prompt", "completion", "reasoning", "reward", "sub_rewards",
    "held_out_reward", "advantage", "error_class", "error_detail", "explanation", "length", "truncated",
    "adapter_step",
)  # fmt: skip


def write_lines(matches: Matches) -> Iterator[str]:
    """Yield a line for each match, in order, with a query for each batch: no cursor stays open."""
    values = None
    while batch := list(matches.order.walk(matches.rollouts, values)[:BATCH]):
        yield from map(_write_line, batch)
        values = tuple(getattr(batch[-1], name) for name in matches.order.columns)


def _write_line(rollout: Rollout) -> str:
    fields = {name: getattr(rollout, name) for name in FIELDS}
    fields["episode"] = rollout.episode and rollout.episode.model_dump(mode="json")
    return json.dumps(fields, ensure_ascii=False) + "\n"
