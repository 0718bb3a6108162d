"""Select a comparison; filter, sort, draw and export its rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import isfinite
from typing import NotRequired, TypedDict

from django.db.models import Exists, F, Func, OrderBy, OuterRef, Prefetch, Q, QuerySet, TextField

from webapp.core.fields import replace_nul
from webapp.core.input_checks import GREATEST, parse_whole_number
from webapp.evaluations.comparison_report import GAINED, LOST
from webapp.evaluations.models import Note
from webapp.graders.definitions.references import RowReference
from webapp.jobs.models import SAME, ComparedRow, Evaluation, Job
from webapp.jobs.rollouts.references import JobRows
from workers.contract.events import Interval, SideSummary

BATCH = 50
NO_ROW = -1  # index of no row, for numbers that are too large
COLUMNS = ("row", "row_id", "side", "sample", "reward", "error", "tokens", "truncated")
EPISODE_COLUMNS = ("ended", "turns", "tool_calls", "tool_errors")
ROW_COLUMNS = (
    *(
        "row_base_reward",
        "row_tuned_reward",
        "row_change",
        "row_base_right",
        "row_tuned_right",
        "row_coverage",
    ),
    *("row_parting_turn", "row_notes", "prompt", "completion"),
)

SHOWS = {
    "win": ("Wins", Q(change__gt=SAME)),
    "tie": ("Ties", Q(change__gte=-SAME, change__lte=SAME)),
    "loss": ("Losses", Q(change__lt=-SAME)),
    "gained": ("Newly solved", GAINED),
    "lost": ("No longer solved", LOST),
    "ungraded": ("Not graded", Q(change=None)),
    "noted": ("With notes", Q(Exists(Note.objects.filter(row=OuterRef("pk"))))),
}
SORTS = {
    "": "as evaluated",
    "-change": "most improved first",
    "change": "most worsened first",
    "base": "base, lowest first",
    "-base": "base, highest first",
    "tuned": "tuned, lowest first",
    "-tuned": "tuned, highest first",
}
NAMES = ("show", "sort", "text", "row", "task", "ended", "least", "most", "shortest", "longest")
RANGES = {
    "least": "tuned_reward__gte",
    "most": "tuned_reward__lte",
    "shortest": "tuned__0__length__gte",
    "longest": "tuned__0__length__lte",
}
MARKS = {
    "expected": "Mark against the expected answer",
    "models": "Mark between the models",
    "off": "Hide marks",
}
FIELDS = {"change": "change", "base": "base_reward", "tuned": "tuned_reward"}


def list_comparisons(job: Job) -> QuerySet[Evaluation]:
    """The job's evaluations in which both models answered rows."""
    return job.evaluations.filter(tuned__isnull=False, compared_rows__isnull=False).distinct()


def select_comparison(evaluations: list[Evaluation], wanted: str) -> Evaluation | None:
    """Return the one with this id, otherwise the one made after training, otherwise the latest."""
    by_id = {str(evaluation.pk): evaluation for evaluation in evaluations}
    after = [evaluation for evaluation in evaluations if evaluation.stage == "after"]
    return by_id.get(wanted) or next(iter([*after[-1:], *evaluations[-1:]]), None)


def find_newer(evaluations: list[Evaluation], seen: str) -> Evaluation | None:
    """Return the latest comparison if it is newer than the page, which knows the id ``seen``."""
    known = parse_whole_number(seen, GREATEST) or 0
    later = [each for each in evaluations if each.pk > known]
    return later[-1] if later else None


def read_confidence(job: Job) -> float:
    """Return the level of the job's intervals, such as 0.95."""
    return job.settings.evaluation.confidence


# --- rows ------------------------------------------------------------------------------------------


class _Answers(Func):
    """All completions of one side as one text."""

    template = "jsonb_path_query_array(%(expressions)s, '$[*].completion')::text"
    output_field = TextField()


def read_row_query(query: Mapping[str, str]) -> dict[str, str]:
    """Return the part of the query string that filters and sorts rows."""
    return {name: value for name in NAMES if (value := query.get(name, "").strip())}


def select_rows(evaluation: Evaluation, query: Mapping[str, str]) -> QuerySet[ComparedRow]:
    """Return the rows that match the query, in its order, without their episodes.

    Invalid filters are ignored.
    """
    notes = Prefetch("notes", Note.objects.select_related("author"))
    rows = evaluation.compared_rows.filter(**_build_lookups(query)).prefetch_related(notes).defer("episodes")
    if show := SHOWS.get(query.get("show", "")):
        rows = rows.filter(show[1])
    if task := replace_nul(query.get("task", "")):
        rows = rows.filter(row_id__startswith=f"{task}/")
    if ended := replace_nul(query.get("ended", "")):
        rows = rows.filter(tuned__0__ended=ended)
    if text := replace_nul(query.get("text", "").strip()):
        rows = _filter_by_text(rows, text)
    return rows.order_by(*_build_order(query.get("sort", "")), "index")


def _build_lookups(query: Mapping[str, str]) -> dict[str, float]:
    """Return lookups of a row's index, and of the reward and length of the tuned model's first completion."""
    found: dict[str, float] = {}
    for name, lookup in RANGES.items():
        with suppress(ValueError):
            found[lookup] = float(query.get(name, ""))
    if (row := query.get("row", "")).isascii() and row.isdigit():
        index = parse_whole_number(row)
        found["index"] = NO_ROW if index is None else index
    return {lookup: value for lookup, value in found.items() if isfinite(value)}


def _filter_by_text(rows: QuerySet[ComparedRow], text: str) -> QuerySet[ComparedRow]:
    inside_json = json.dumps(text, ensure_ascii=False)[1:-1]
    return rows.alias(base_answers=_Answers("base"), tuned_answers=_Answers("tuned")).filter(
        Q(prompt__icontains=text)
        | Q(row_id=text)
        | Q(base_answers__icontains=inside_json)
        | Q(tuned_answers__icontains=inside_json)
    )


def _build_order(sort: str) -> list[OrderBy]:
    field = FIELDS.get(sort.removeprefix("-"))
    if not field:
        return []
    return [OrderBy(F(field), descending=sort.startswith("-"), nulls_last=True)]


# --- expected answers ------------------------------------------------------------------------------


def build_references(job: Job, rows: Iterable[ComparedRow]) -> dict[int, RowReference]:
    """Return the answers that the graders of these rows expect, by the row's index."""
    job_rows = JobRows(job)
    return {row.index: job_rows.reference(row.row_id, row.row) for row in rows}


def find_judged_rows(job: Job, rows: Iterable[ComparedRow]) -> dict[int, bool]:
    """Return True for rows whose grader asks a judge, by the row's index."""
    job_rows = JobRows(job)
    return {row.index: job_rows.is_judged(row.row_id) for row in rows}


def build_marks_context(wanted: str, references: Mapping[int, RowReference]) -> dict[str, object]:
    """Return which differences the page marks: those to the expected answers by default, if there are any."""
    expected = any(reference.expected for reference in references.values())
    choices = {name: label for name, label in MARKS.items() if expected or name != "expected"}
    return {
        "references": references,
        "any_expected": expected,
        "marks_choices": choices.items(),
        "marks_chosen": wanted in choices,
        "marks": wanted if wanted in choices else next(iter(choices)),
    }


# --- drawing ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bar:
    """One model's mean and interval, as positions on the axis (CSS percentages)."""

    name: str
    interval: Interval
    mean: str
    low: str
    high: str


@dataclass(frozen=True)
class Figure:
    """Means with their intervals on one axis; ``ticks`` are (position, label)."""

    bars: list[Bar]
    ticks: list[tuple[str, str]]


def build_figure(evaluation: Evaluation) -> Figure:
    """Return the figure of both models' mean rewards."""
    base, tuned = _get_summaries(evaluation)
    return draw_intervals({evaluation.job.base_label: base.reward, "Tuned": tuned.reward})


def draw_intervals(sides: Mapping[str, Interval]) -> Figure:
    """Draw ``contract.events.Interval`` by name, on an axis from 0 to 1, or wider if rewards lie outside."""
    values = [value for interval in sides.values() for value in find_bounds(interval)]
    low, high = min(0.0, *values), max(1.0, *values)

    def position(value: float) -> str:
        return f"{3 + 94 * (value - low) / (high - low):.2f}%"  # leaves room at both ends

    bars = [
        Bar(name, interval, position(interval.mean), *map(position, find_bounds(interval)))
        for name, interval in sides.items()
    ]
    ticks = [low + part * (high - low) / 4 for part in range(5)]
    return Figure(bars, [(position(value), f"{value:.2f}") for value in ticks])


def find_bounds(interval: Interval) -> tuple[float, float]:
    """Return both ends of an interval for drawing; the mean if the rows are too few for an interval."""
    if interval.low is None or interval.high is None:
        return interval.mean, interval.mean
    return interval.low, interval.high


def list_pass_at_k(evaluation: Evaluation) -> list[tuple[str, float | None, float | None]]:
    """Return (k, base, tuned), in ascending order of k."""
    base, tuned = (summary.pass_at_k for summary in _get_summaries(evaluation))
    return [(k, base.get(k), tuned.get(k)) for k in sorted(base.keys() | tuned.keys(), key=int)]


def _get_summaries(evaluation: Evaluation) -> tuple[SideSummary, SideSummary]:
    assert evaluation.tuned is not None, f"{evaluation} compares nothing"
    return evaluation.base, evaluation.tuned


# --- CSV -------------------------------------------------------------------------------------------


def build_table(rows: QuerySet[ComparedRow]) -> Iterator[Sequence[object]]:
    """Yield a header, then a line for every completion of both models to these rows."""
    names: set[str] = set()
    for row in _read_in_batches(rows):
        names.update(name for _, _, sample in _walk_samples(row) for name in sample["sub_rewards"])
    sub_rewards = sorted(names)
    yield [*COLUMNS, *EPISODE_COLUMNS, *(f"sub_reward.{name}" for name in sub_rewards), *ROW_COLUMNS]
    for row in _read_in_batches(rows):
        yield from _build_lines(row, sub_rewards)


def _read_in_batches(rows: QuerySet[ComparedRow]) -> Iterator[ComparedRow]:
    """Yield the rows by index, with a query for each batch: no cursor stays open for a slow reader."""
    last = -1
    while batch := list(rows.order_by("index").filter(index__gt=last)[:BATCH]):
        yield from batch
        last = batch[-1].index


class StoredSample(TypedDict):
    """The fields of ``contract.events.EvaluationSample`` that the table holds; the last ones of episodes."""

    completion: str
    reward: float | None
    sub_rewards: dict[str, float | None]
    error_class: str | None
    length: int
    truncated: bool
    ended: NotRequired[str]
    turns: NotRequired[int]
    tool_calls: NotRequired[int]
    tool_errors: NotRequired[int]


def _walk_samples(row: ComparedRow) -> Iterator[tuple[str, int, StoredSample]]:
    """Yield (side, number, completion)."""
    for side, samples in (("base", row.base), ("tuned", row.tuned)):
        for number, sample in enumerate(samples, start=1):
            yield side, number, sample


def _build_lines(row: ComparedRow, sub_rewards: list[str]) -> Iterator[list[object]]:
    for side, number, sample in _walk_samples(row):
        yield [
            *(row.index, row.row_id, side, number, sample["reward"], sample["error_class"]),
            *(sample["length"], sample["truncated"]),
            *(sample.get(name) for name in EPISODE_COLUMNS),
            *(sample["sub_rewards"].get(name) for name in sub_rewards),
            *(row.base_reward, row.tuned_reward, row.change),
            *(row.base_right, row.tuned_right, _describe_coverage(row)),
            *(row.parting_turn, _join_notes(row), row.prompt, sample["completion"]),
        ]


def _describe_coverage(row: ComparedRow) -> str:
    """Return what ``GAINED`` and ``LOST`` say of the row."""
    if row.base_right is None or row.tuned_right is None or (row.base_right > 0) == (row.tuned_right > 0):
        return ""
    return "gained" if row.tuned_right else "lost"


def _join_notes(row: ComparedRow) -> str:
    return "\n".join(f"{note.author or 'a former member'}: {note.text}" for note in row.notes.all())
