"""Evaluations: keep what the engine measured."""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING, Any

from webapp.config.fields import storable
from workers.events import EvaluationEvent, EvaluationRow, EvaluationSample

from .models import ComparedRow, Evaluation

if TYPE_CHECKING:
    from webapp.jobs.models import Job

FREE_TEXT = ("completion", "error_detail", "explanation")


def record_evaluation(job: Job, event: EvaluationEvent) -> Evaluation:
    """Store one evaluation with its rows; the same one again replaces it. Call it in a transaction."""
    values = event.model_dump(
        mode="json", exclude={"type", "time", "details", "stage", "split", "step", "task", "judge_cost"}
    )
    evaluation, _ = Evaluation.objects.update_or_create(
        job=job, stage=event.stage, split=event.split, step=event.step, task=event.task, defaults=values
    )
    evaluation.compared_rows.all().delete()
    ComparedRow.objects.bulk_create(
        _compared(evaluation, index, row) for index, row in enumerate(event.details)
    )
    return evaluation


def _compared(evaluation: Evaluation, index: int, row: EvaluationRow) -> ComparedRow:
    base, tuned = _mean(row.base), _mean(row.tuned)
    return ComparedRow(
        evaluation=evaluation,
        index=index,
        row_id=row.row_id,
        prompt=storable(row.prompt),
        base=_samples(row.base),
        tuned=_samples(row.tuned),
        base_reward=base,
        tuned_reward=tuned,
        change=None if base is None or tuned is None else tuned - base,
        base_right=row.base_right,
        tuned_right=row.tuned_right,
    )


def _mean(samples: list[EvaluationSample]) -> float | None:
    rewards = [sample.reward for sample in samples if sample.reward is not None]
    return fmean(rewards) if rewards else None


def _samples(samples: list[EvaluationSample]) -> list[dict[str, Any]]:
    return [
        sample.model_dump(mode="json") | {name: storable(getattr(sample, name) or "") for name in FREE_TEXT}
        for sample in samples
    ]
