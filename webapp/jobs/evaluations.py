"""Recording of evaluations and suite scores, and the order of jobs by their gain."""

from __future__ import annotations

from collections import Counter
from statistics import fmean

from django.db.models import FloatField, OrderBy, OuterRef, Subquery
from django.db.models.fields.json import KT
from django.db.models.functions import Cast
from django.forms import model_to_dict

from webapp.core.episodes.records import (
    EpisodePairs,
    clean_record,
    count_calls,
    count_episodes,
    count_errors,
    find_parting_turn,
)
from webapp.core.fields import replace_nul
from webapp.jobs.models import ComparedRow, Evaluation, Job, SuiteScore
from webapp.jobs.models.evaluation import RowEpisodes
from workers.contract.environments import EpisodeRecord
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
    values["episodes"] = _count_pairs(event.details)
    evaluation, _ = Evaluation.objects.update_or_create(
        job=job, stage=event.stage, split=event.split, step=event.step, task=event.task, defaults=values
    )
    rows = [build_row(evaluation, index, row) for index, row in enumerate(event.details)]
    known = {row.index: row for row in evaluation.compared_rows.all()}
    changed = [row for row in rows if row.index not in known or _content(row) != _content(known[row.index])]
    same = {row.index for row in rows} - {row.index for row in changed}
    evaluation.compared_rows.exclude(index__in=same).delete()
    ComparedRow.objects.bulk_create(changed)
    return evaluation


def _content(row: ComparedRow) -> dict[str, object]:
    return model_to_dict(row, exclude=["id", "evaluation"])


def build_row(evaluation: Evaluation, index: int, row: EvaluationRow) -> ComparedRow:
    """Return a row of an evaluation, unsaved."""
    base, tuned, episodes = _mean(row.base), _mean(row.tuned), _collect_episodes(row)
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
        episodes=episodes and clean_record(episodes),
        parting_turn=_find_parting_turn(episodes) if episodes else None,
    )


def _collect_episodes(row: EvaluationRow) -> RowEpisodes | None:
    """Return the episodes of a row; None if it has single turns."""
    base, tuned = ([sample.episode for sample in side] for side in (row.base, row.tuned))
    return RowEpisodes(base=base, tuned=tuned) if any((*base, *tuned)) else None


def _find_parting_turn(episodes: RowEpisodes) -> int | None:
    return find_parting_turn(*episodes.first) if episodes.first else None


def _count_pairs(rows: list[EvaluationRow]) -> EpisodePairs | None:
    """Count the episodes of both models; None unless both played some."""
    found = [episodes for row in rows if (episodes := _collect_episodes(row))]
    base = [each for row in found for each in row.base if each]
    tuned = [each for row in found for each in row.tuned if each]
    if not (base and tuned):
        return None
    parted = Counter(_find_parting_turn(row) for row in found if row.first)
    return EpisodePairs(
        base=count_episodes(base),
        tuned=count_episodes(tuned),
        same=parted[None],
        parted={turn: count for turn, count in parted.items() if turn},
    )


def _mean(samples: list[EvaluationSample]) -> float | None:
    rewards = [sample.reward for sample in samples if sample.reward is not None]
    return fmean(rewards) if rewards else None


def _dump_samples(samples: list[EvaluationSample]) -> list[JsonObject]:
    return [
        sample.model_dump(mode="json", exclude={"episode"})
        | {name: replace_nul(getattr(sample, name) or "") for name in FREE_TEXT}
        | (summarize_episode(sample.episode) if sample.episode else {})
        for sample in samples
    ]


def summarize_episode(episode: EpisodeRecord) -> JsonObject:
    """Return what lists show of an episode without loading it."""
    return {
        "ended": episode.end,
        "turns": len(episode.turns),
        "tool_calls": count_calls(episode),
        "tool_errors": count_errors(episode),
    }


def record_retention(job: Job, event: RetentionEvent) -> SuiteScore:
    """Store a score; a repeated one replaces it. Needs a transaction with the job locked."""
    values = {name: getattr(event, name) for name in SCORE_COLUMNS}
    score, _ = SuiteScore.objects.update_or_create(
        job=job, suite=replace_nul(event.suite), stage=event.stage, step=event.step, defaults=values
    )
    return score
