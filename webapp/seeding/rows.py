"""The rows that come in millions, by COPY."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from random import Random
from typing import Any

from django.db import connection
from django.utils import timezone

from webapp.core.fields import create_public_id
from webapp.jobs.models import Job, JobEvent, Metric, Rollout
from webapp.jobs.recording import METRIC_COLUMNS, ROLLOUT_COLUMNS, describe_episode
from webapp.seeding import made_up_episodes
from webapp.seeding.made_up_text import Answer, answers, learned, values

SO_MANY_THAT_INDEXES_WAIT = 100_000
EVENT_COLUMNS = ("uid", "job_id", "attempt", "kind", "data", "created_at")
LOG_EVERY = 10
STEPS_TO_EPISODES = 100  # the first group of every hundredth step plays episodes
_event_id = partial(create_public_id, "ftevent-")


def _copy(table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    names = ", ".join(column if column.startswith('"') else f'"{column}"' for column in columns)
    with connection.cursor() as cursor, cursor.copy(f"copy {table} ({names}) from stdin") as copy:
        for row in rows:
            copy.write_row(row)


def copy_metrics(jobs: Sequence[Job], after: int = 0, steps: int = 0) -> None:
    """The numbers of every step that the jobs have taken, or of ``steps`` behind ``after``."""
    _copy(Metric._meta.db_table, METRIC_COLUMNS, _metrics(jobs, after, steps))


def _metrics(jobs: Sequence[Job], after: int, steps: int) -> Iterator[tuple[Any, ...]]:
    random, now = Random(1), timezone.now()  # noqa: S311 -- made-up rows
    for job in jobs:
        last = after + (steps or job.step)
        for step in range(after + 1, last + 1):
            yield job.pk, step, json.dumps(values(step, last, random)), now - timedelta(seconds=last - step)


def copy_events(jobs: Sequence[Job], after: int = 0, steps: int = 0) -> None:
    """What the live stream replays: metrics of every step, and a line of the log every ten."""
    _copy(JobEvent._meta.db_table, EVENT_COLUMNS, _events(jobs, after, steps))


def _events(jobs: Sequence[Job], after: int, steps: int) -> Iterator[tuple[Any, ...]]:
    for job in jobs:
        began = job.queued_at or job.created_at
        for step in range(after + 1, after + (steps or job.step) + 1):
            at = began + timedelta(seconds=step)
            yield _event_id(), job.pk, 1, "metrics", json.dumps({"first": step, "last": step}), at
            if step % LOG_EVERY == 1:
                said = {"level": "info", "message": f"Step {step}: the adapter of step {step - 1} sampled."}
                yield _event_id(), job.pk, 1, "log", json.dumps(said), at


def copy_rollouts(shares: Sequence[tuple[Job, int]], after: int = 0, steps: int = 0) -> None:
    """So many rollouts of each job, spread over its steps."""
    with _indexes_behind(sum(count for _, count in shares)):
        _copy(Rollout._meta.db_table, ROLLOUT_COLUMNS, _rollouts(shares, after, steps))


def _rollouts(shares: Sequence[tuple[Job, int]], after: int, steps: int) -> Iterator[tuple[Any, ...]]:
    random = Random(2)  # noqa: S311 -- made-up rows
    for job, count in shares:
        total, begun = steps or job.step, 0
        for taken in range(1, total + 1):
            until = count * taken // total
            yield from _step(job, after + taken, until - begun, learned(taken, total), random)
            begun = until


def _step(job: Job, step: int, count: int, far: float, random: Random) -> Iterator[tuple[Any, ...]]:
    for answer in answers(count, far, random):
        if answer.group == 0 and step % STEPS_TO_EPISODES == 1:
            yield _episode(job, step, answer, far)
            continue
        prompt, reward = answer.prompt, answer.reward
        yield (
            job.pk, step, answer.place, answer.group, prompt.row_id, "", prompt.text, answer.text, "", reward,
            "{}" if reward is None else f'{{"fields": {reward}}}', answer.error,
            "ZeroDivisionError in grade, line 7" if answer.error else "", "",
            0.0 if reward is None else reward - far, len(answer.text) // 2, answer.cut, step - 1, None,
            *describe_episode(None),
        )  # fmt: skip


def _episode(job: Job, step: int, answer: Answer, far: float) -> tuple[Any, ...]:
    """An episode in place of an answer, as right as that."""
    played = made_up_episodes.play(answer.reward == 1)
    reward = played.reward or 0.0
    tokens = sum(turn.tokens for turn in played.turns)
    return (
        job.pk, step, answer.place, answer.group, "desk-1", "", made_up_episodes.PROMPT, played.transcript(),
        "", reward, f'{{"environment": {reward}}}', "", "", "", reward - far, tokens, False, step - 1, None,
        *describe_episode(played),
    )  # fmt: skip


@contextmanager
def _indexes_behind(count: int) -> Iterator[None]:
    """Millions of rows are indexed at once, behind the last of them."""
    if count < SO_MANY_THAT_INDEXES_WAIT:
        yield
        return
    with connection.schema_editor() as editor:
        for index in Rollout._meta.indexes:
            editor.remove_index(Rollout, index)
    try:
        yield
    finally:
        for index in Rollout._meta.indexes:
            with connection.schema_editor() as editor:
                editor.execute("set local maintenance_work_mem = '1GB'")
                editor.add_index(Rollout, index)


def analyze() -> None:
    """Tell the planner what there is now."""
    with connection.cursor() as cursor:
        cursor.execute("analyze")
