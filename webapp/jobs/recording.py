"""Recording of the engine's events: fenced by attempt, in batches, safe to repeat."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from django.db import connection, transaction
from django.db.models import Model
from django.utils import timezone
from psycopg.types.json import Jsonb

from webapp.core.episodes.records import clean_record, list_called_tools
from webapp.core.fields import replace_nul
from webapp.jobs import checkpoints
from webapp.jobs.evaluations import record_evaluation, record_retention
from webapp.jobs.job_events import add_event
from webapp.jobs.models import Alarm, Checkpoint, Job, Metric, PreflightSample, Rollout
from webapp.jobs.models.job import JobProgress
from webapp.jobs.results.step_events import report_steps
from webapp.work.errors import WorkError
from webapp.work.queue import fence_attempt
from workers.contract import events
from workers.contract.environments import EpisodeRecord
from workers.contract.json_types import JsonObject

Handler = Callable[[Job, Any], None]


def _upsert(
    model: type[Model], key: Sequence[str], columns: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    """COPY the rows into a temporary table, then merge them; ``key`` finds rows to replace."""
    table = model._meta.db_table
    names = ", ".join(f'"{column}"' for column in columns)
    rest = ", ".join(f'"{c}" = excluded."{c}"' for c in columns if c not in key)
    with connection.cursor() as cursor:
        cursor.execute(f"create temp table incoming (like {table} including defaults) on commit drop")
        cursor.execute("alter table incoming drop column id")
        with cursor.copy(f"copy incoming ({names}) from stdin") as copy:
            for row in rows:
                copy.write_row(row)
        cursor.execute(
            f"insert into {table} ({names}) select {names} from incoming "  # noqa: S608 -- no user input
            f"on conflict ({', '.join(key)}) do update set {rest}"
        )
        cursor.execute("drop table incoming")


COST = re.compile(r"judge/(.+)/cost")
METRIC_COLUMNS = ("job_id", "step", "values", "created_at")
ROLLOUT_COLUMNS = (
    "job_id", "step", "index", "group", "row_id", "task", "prompt", "completion", "reasoning", "reward",
    "sub_rewards", "error_class", "error_detail", "explanation", "advantage", "length", "truncated",
    "adapter_step", "held_out_reward", "episode", "ended", "turns", "tools",
)  # fmt: skip


def _record_metrics(job: Job, batch: list[events.MetricsEvent]) -> None:
    now = timezone.now()
    latest = {event.step: event for event in batch}
    rows = [(job.pk, step, Jsonb(event.values), now) for step, event in latest.items()]
    _upsert(Metric, ("job_id", "step"), METRIC_COLUMNS, rows)
    job.step, job.total_steps = batch[-1].step, batch[-1].total_steps
    for event in batch:
        _add_judge_cost(
            job, {found[1]: value for name, value in event.values.items() if (found := COST.fullmatch(name))}
        )
    add_event(job.pk, job.attempt, "metrics", {"first": batch[0].step, "last": batch[-1].step})


def _add_judge_cost(job: Job, cost: dict[str, float]) -> None:
    """Add to the cost of the job's judges. It stays when a resumed attempt repeats steps."""
    for judge, money in cost.items():
        job.judge_cost[judge] = job.judge_cost.get(judge, 0.0) + money


def _rollout_row(job: Job, step: int, rollout: events.Rollout) -> tuple[Any, ...]:
    return (
        job.pk, step, rollout.index, rollout.group, rollout.row_id, replace_nul(rollout.task),
        replace_nul(rollout.prompt),
        replace_nul(rollout.completion), replace_nul(rollout.reasoning), rollout.reward,
        Jsonb(rollout.sub_rewards), rollout.error_class or "",
        replace_nul(rollout.error_detail), replace_nul(rollout.explanation), rollout.advantage,
        rollout.length, rollout.truncated, rollout.adapter_step, rollout.held_out_reward,
        *describe_episode(rollout.episode),
    )  # fmt: skip


def describe_episode(episode: EpisodeRecord | None) -> tuple[str | None, str, int, list[str]]:
    """Return the columns of a rollout's episode: its JSON, and what the search of rollouts reads."""
    if episode is None:
        return None, "", 0, []
    text = clean_record(episode).model_dump_json()
    return text, episode.end, len(episode.turns), list_called_tools(episode)


def _record_rollouts(job: Job, batch: list[events.RolloutsEvent]) -> None:
    latest = {event.step: event for event in batch}
    rows = [_rollout_row(job, step, rollout) for step, event in latest.items() for rollout in event.rollouts]
    _upsert(Rollout, ("job_id", "step", '"index"'), ROLLOUT_COLUMNS, rows)
    add_event(job.pk, job.attempt, "rollouts", {"step": batch[-1].step})


def _record_phase(job: Job, batch: list[events.PhaseEvent]) -> None:
    for event in batch:
        job.phase = event.phase
        job.progress = JobProgress(eta_seconds=job.progress.eta_seconds, at=job.progress.at)
        add_event(job.pk, job.attempt, "phase", {"phase": event.phase})


def _record_progress(job: Job, batch: list[events.ProgressEvent]) -> None:
    if batch[-1].phase != job.phase:
        return  # a later phase of the same batch has begun
    values = batch[-1].model_dump(exclude={"type", "time"})
    job.progress = JobProgress(**values, at=timezone.now().timestamp())
    add_event(job.pk, job.attempt, "progress", job.progress.model_dump())


def _record_evaluation(job: Job, batch: list[events.EvaluationEvent]) -> None:
    for event in batch:
        record_evaluation(job, event)
        _add_judge_cost(job, event.judge_cost)
        if event.task:
            continue  # an event about all rows goes with it
        data: JsonObject = {"stage": event.stage, "split": event.split, "step": event.step}
        if event.split == "validation":
            data["validation"] = (event.tuned or event.base).reward.mean
        add_event(job.pk, job.attempt, "evaluation", data)


def _record_retention(job: Job, batch: list[events.RetentionEvent]) -> None:
    for event in batch:
        record_retention(job, event)
        _add_judge_cost(job, event.judge_cost)
    add_event(job.pk, job.attempt, "retention", {"step": batch[-1].step})


def _record_alarms(job: Job, batch: list[events.AlarmEvent]) -> None:
    for event in batch:
        values = event.model_dump(exclude={"type", "time", "step", "code"})
        _, new = Alarm.objects.update_or_create(job=job, step=event.step, code=event.code, defaults=values)
        if new:
            level = "error" if event.paused else "warning"
            data: JsonObject = {"step": event.step, "level": level, "message": event.message}
            add_event(job.pk, job.attempt, "alarm", data)


def _record_preflight(job: Job, batch: list[events.PreflightEvent]) -> None:
    job.preflight = batch[-1].model_copy(update={"samples": []})
    job.preflight_samples.all().delete()
    PreflightSample.objects.bulk_create(
        _build_sample(job, position, sample) for position, sample in enumerate(batch[-1].samples)
    )
    _add_judge_cost(job, batch[-1].judge_cost)
    add_event(job.pk, job.attempt, "preflight", {"verdict": batch[-1].verdict})


def _build_sample(job: Job, position: int, sample: events.PreflightSample) -> PreflightSample:
    texts = ("task", "prompt", "completion", "reasoning", "error_detail", "explanation")
    values = sample.model_dump(exclude=set(texts) | {"error_class", "episode"})
    values |= {name: replace_nul(getattr(sample, name)) for name in texts}
    values["episode"] = sample.episode and clean_record(sample.episode)
    return PreflightSample(job=job, position=position, error_class=sample.error_class or "", **values)


def _record_log(job: Job, batch: list[events.LogEvent]) -> None:
    for event in batch:
        add_event(job.pk, job.attempt, "log", {"level": event.level, "message": replace_nul(event.message)})


def _record_error(job: Job, batch: list[events.ErrorEvent]) -> None:
    error = WorkError(**batch[-1].model_dump(exclude={"type", "time"}))
    job.error = error
    add_event(job.pk, job.attempt, "error", error.model_dump())


# The worker itself handles checkpoint and done: they come with files.
HANDLERS: dict[str, Handler] = {
    "phase": _record_phase,
    "metrics": _record_metrics,
    "rollouts": _record_rollouts,
    "evaluation": _record_evaluation,
    "retention": _record_retention,
    "alarm": _record_alarms,
    "progress": _record_progress,
    "preflight": _record_preflight,
    "log": _record_log,
    "error": _record_error,
}
LIVE_FIELDS = [
    "phase", "step", "total_steps", "progress", "error", "judge_cost", "events_end", "preflight",
    "reported_step",
]  # fmt: skip
STEP_KINDS = {"metrics", "rollouts", "evaluation", "phase"}  # may complete a step


@transaction.atomic
def record_events(job_id: int, attempt: int, batch: Sequence[events.Event], end: int | None = None) -> bool:
    """Record one batch. Return False, with nothing recorded, if the attempt lost the job.

    ``end`` is the offset in the engine's file after the batch. A batch up to an offset that is recorded
    already is skipped: its response was lost with the connection, and the worker sent it again.
    """
    job = Job.objects.select_for_update().filter(fence_attempt(job_id, attempt)).first()
    if job is None:
        return False
    if end is not None:
        if end <= job.events_end:
            return True
        job.events_end = end
    for kind, handler in HANDLERS.items():
        if found := [event for event in batch if event.type == kind]:
            handler(job, found)
    if any(event.type in STEP_KINDS for event in batch):
        report_steps(job)
    job.save(update_fields=LIVE_FIELDS)
    return True


@transaction.atomic
def begin_attempt(job_id: int, attempt: int, step: int) -> bool:
    """Delete what was recorded after ``step``, to resume there. Return False if lost."""
    job = Job.objects.select_for_update().filter(fence_attempt(job_id, attempt)).first()
    if job is None:
        return False
    Metric.objects.filter(job=job, step__gt=step).delete()
    Rollout.objects.filter(job=job, step__gt=step).delete()
    checkpoints.delete_checkpoints(job.checkpoints.filter(step__gt=step))
    job.evaluations.filter(step__gt=step).delete()
    job.alarms.filter(step__gt=step).delete()
    job.suite_scores.filter(step__gt=step).delete()
    job.step, job.events_end = step, 0
    job.save(update_fields=["step", "events_end"])
    add_event(job.pk, attempt, "rewind", {"step": step})
    message = f"Resumed from step {step} (attempt {attempt})." if step else f"Attempt {attempt} started."
    add_event(job.pk, attempt, "log", {"level": "info", "message": message})
    return True


@transaction.atomic
def record_checkpoint(
    job_id: int, attempt: int, step: int, key: str, size: int, sha256: str, adapter_sha256: str
) -> bool:
    """Record a checkpoint whose archive is complete in storage. Return False if the job is lost."""
    job = Job.objects.select_for_update().filter(fence_attempt(job_id, attempt)).first()
    if job is None:
        return False
    values = {
        "attempt": attempt,
        "key": key,
        "bytes": size,
        "sha256": sha256,
        "adapter_sha256": adapter_sha256,
    }
    replaced = Checkpoint.objects.filter(job=job, step=step).exclude(key=key)
    checkpoints.delete_archives([*replaced.values_list("key", flat=True)])
    Checkpoint.objects.update_or_create(job=job, step=step, defaults=values)
    Job.objects.filter(pk=job_id).update(crashes=0)  # only crashes without a checkpoint in between add up
    add_event(job.pk, attempt, "checkpoint", {"step": step})
    return True
