"""Recording of evaluations and suite scores, and the order of jobs by their gain."""

from __future__ import annotations

from statistics import fmean

from django.db.models import FloatField, OrderBy, OuterRef, Subquery
from django.db.models.fields.json import KT
from django.db.models.functions import Cast
from django.forms import model_to_dict

from webapp.core.fields import replace_nul
from webapp.jobs.models import ComparedRow, Evaluation, Job, SuiteScore
from workers.contract.events import EvaluationEvent, EvaluationRow, EvaluationSample, RetentionEvent
from workers.contract.json_types import JsonObject

EVALUATION_COLUMNS = (
    "rows", "samples_per_row", "base", "tuned", "difference", "wins", "ties", "losses", "comparison",
)  # fmt: skip
SCORE_COLUMNS = (
    "rows", "samples_per_row", "base", "tuned", "forgetting", "grading_errors", "drift",
)  # fmt: skip
FREE_TEXT = ("completion", "reasoning", "error_detail", "explanation")


def order_by_gain(job: str) -> OrderBy:
    """Return the order by gain after training; ``job`` is the outer query's job field."""
    after = Evaluation.objects.filter(job=OuterRef(job), stage="after", task="").order_by("-pk")
    gain = Cast(KT("difference__mean"), FloatField())
    return Subquery(after.values(gain=gain)[:1]).desc(nulls_last=True)


def record_evaluation(job: Job, event: EvaluationEvent) -> Evaluation:
    """Store an evaluation with its rows; a repeated one replaces it. Needs a transaction.

    Unchanged rows stay in the database, since people's votes and notes belong to their completions.
    """
    values = {name: getattr(event, name) for name in EVALUATION_COLUMNS}
    evaluation, _ = Evaluation.objects.update_or_create(
        job=job, stage=event.stage, split=event.split, step=event.step, task=event.task, defaults=values
    )
    rows = [_build_row(evaluation, index, row) for index, row in enumerate(event.details)]
    known = {row.index: row for row in evaluation.compared_rows.all()}
    changed = [row for row in rows if row.index not in known or _content(row) != _content(known[row.index])]
    same = {row.index for row in rows} - {row.index for row in changed}
    evaluation.compared_rows.exclude(index__in=same).delete()
    ComparedRow.objects.bulk_create(changed)
    return evaluation


def _content(row: ComparedRow) -> dict[str, object]:
    return model_to_dict(row, exclude=["id", "evaluation"])


def _build_row(evaluation: Evaluation, index: int, row: EvaluationRow) -> ComparedRow:
    base, tuned = _mean(row.base), _mean(row.tuned)
    return ComparedRow(
        evaluation=evaluation,
        index=index,
        row_id=row.row_id,
        prompt=replace_nul(row.prompt),
        row={"messages": row.messages, "tools": row.tools, "item": row.item},
        base=_dump_samples(row.base),
        tuned=_dump_samples(row.tuned),
        base_reward=base,
        tuned_reward=tuned,
        change=None if base is None or tuned is None else tuned - base,
        base_right=row.base_right,
        tuned_right=row.tuned_right,
    )


def _mean(samples: list[EvaluationSample]) -> float | None:
    rewards = [sample.reward for sample in samples if sample.reward is not None]
    return fmean(rewards) if rewards else None


def _dump_samples(samples: list[EvaluationSample]) -> list[JsonObject]:
    return [
        sample.model_dump(mode="json")
        | {name: replace_nul(getattr(sample, name) or "") for name in FREE_TEXT}
        for sample in samples
    ]


def record_retention(job: Job, event: RetentionEvent) -> SuiteScore:
    """Store a score; a repeated one replaces it. Needs a transaction with the job locked."""
    values = {name: getattr(event, name) for name in SCORE_COLUMNS}
    score, _ = SuiteScore.objects.update_or_create(
        job=job, suite=replace_nul(event.suite), stage=event.stage, step=event.step, defaults=values
    )
    return score
