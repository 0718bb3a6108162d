"""How a comparison is chosen, drawn, sorted, filtered and exported."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import isfinite
from typing import Any

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
NO_ROW = -1  # the place of a row whose number is greater than any place
COLUMNS = ("row", "row_id", "side", "sample", "reward", "error", "tokens", "truncated")
ROW_COLUMNS = (
    *(
        "row_base_reward",
        "row_tuned_reward",
        "row_change",
        "row_base_right",
        "row_tuned_right",
        "row_coverage",
    ),
    *("row_notes", "prompt", "completion"),
)

SHOWN = {
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
NAMES = ("show", "sort", "text", "row", "task", "least", "most", "shortest", "longest")
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


def comparisons(job: Job) -> QuerySet[Evaluation]:
    """The job's evaluations in which both models answered rows."""
    return job.evaluations.filter(tuned__isnull=False, compared_rows__isnull=False).distinct()


def chosen(evaluations: list[Evaluation], wanted: str) -> Evaluation | None:
    """The one with this id, otherwise the one made after training, otherwise the latest."""
    by_id = {str(evaluation.pk): evaluation for evaluation in evaluations}
    after = [evaluation for evaluation in evaluations if evaluation.stage == "after"]
    return by_id.get(wanted) or next(iter([*after[-1:], *evaluations[-1:]]), None)


def arrived(evaluations: list[Evaluation], seen: str) -> Evaluation | None:
    """The latest that came after the one that a page was drawn with."""
    known = parse_whole_number(seen, GREATEST) or 0
    later = [each for each in evaluations if each.pk > known]
    return later[-1] if later else None


def confidence(job: Job) -> float:
    """The level of the job's intervals, such as 0.95."""
    return job.settings.evaluation.confidence


# --- rows ------------------------------------------------------------------------------------------


class _Answers(Func):
    """All answers of one side as one text."""

    template = "jsonb_path_query_array(%(expressions)s, '$[*].completion')::text"
    output_field = TextField()


def asked(query: Mapping[str, str]) -> dict[str, str]:
    """What of the address is about rows."""
    return {name: value for name in NAMES if (value := query.get(name, "").strip())}


def selected(evaluation: Evaluation, query: Mapping[str, str]) -> QuerySet[ComparedRow]:
    """The rows that the query's filters leave, in its order; what cannot be read is ignored."""
    notes = Prefetch("notes", Note.objects.select_related("author"))
    rows = evaluation.compared_rows.filter(**_limits(query)).prefetch_related(notes)
    if shown := SHOWN.get(query.get("show", "")):
        rows = rows.filter(shown[1])
    if task := replace_nul(query.get("task", "")):
        rows = rows.filter(row_id__startswith=f"{task}/")
    if text := replace_nul(query.get("text", "").strip()):
        rows = _holding(rows, text)
    return rows.order_by(*_order(query.get("sort", "")), "index")


def _limits(query: Mapping[str, str]) -> dict[str, float]:
    """Lookups of one row by its place, and of the tuned model's reward and length of its first answer."""
    found: dict[str, float] = {}
    for name, lookup in RANGES.items():
        with suppress(ValueError):
            found[lookup] = float(query.get(name, ""))
    if (row := query.get("row", "")).isascii() and row.isdigit():
        index = parse_whole_number(row)
        found["index"] = NO_ROW if index is None else index
    return {lookup: value for lookup, value in found.items() if isfinite(value)}


def _holding(rows: QuerySet[ComparedRow], text: str) -> QuerySet[ComparedRow]:
    inside_json = json.dumps(text, ensure_ascii=False)[1:-1]
    return rows.alias(base_answers=_Answers("base"), tuned_answers=_Answers("tuned")).filter(
        Q(prompt__icontains=text)
        | Q(row_id=text)
        | Q(base_answers__icontains=inside_json)
        | Q(tuned_answers__icontains=inside_json)
    )


def _order(sort: str) -> list[OrderBy]:
    field = FIELDS.get(sort.removeprefix("-"))
    if not field:
        return []
    return [OrderBy(F(field), descending=sort.startswith("-"), nulls_last=True)]


# --- expected answers ------------------------------------------------------------------------------


def references(job: Job, rows: Iterable[ComparedRow]) -> dict[int, RowReference]:
    """What the graders of these rows expect, by the row's index."""
    known = JobRows(job)
    return {row.index: known.reference(row.row_id, row.row) for row in rows}


def judged_rows(job: Job, rows: Iterable[ComparedRow]) -> dict[int, bool]:
    """True for rows whose grader asks a judge, by the row's index."""
    known = JobRows(job)
    return {row.index: known.is_judged(row.row_id) for row in rows}


def differences(wanted: str, found: Mapping[int, RowReference]) -> dict[str, Any]:
    """Which differences the page marks: against the expected answers if there are any, unless asked else."""
    expected = any(reference.expected for reference in found.values())
    choices = {name: label for name, label in MARKS.items() if expected or name != "expected"}
    return {
        "references": found,
        "any_expected": expected,
        "marks_choices": choices.items(),
        "marks_chosen": wanted in choices,
        "marks": wanted if wanted in choices else next(iter(choices)),
    }


# --- drawing ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bar:
    """One model's mean and interval, as places on the axis (CSS percentages)."""

    name: str
    interval: Interval
    mean: str
    low: str
    high: str


@dataclass(frozen=True)
class Figure:
    """Means with their intervals on one axis; ``ticks`` are (place, label)."""

    bars: list[Bar]
    ticks: list[tuple[str, str]]


def figure(evaluation: Evaluation) -> Figure:
    """Drawn from 0 to 1, or wider where rewards lie outside."""
    base, tuned = _summaries(evaluation)
    return drawn({evaluation.job.base_label: base.reward, "Tuned": tuned.reward})


def drawn(sides: Mapping[str, Interval]) -> Figure:
    """The same for any sides, by their names."""
    values = [value for interval in sides.values() for value in bounds_of(interval)]
    low, high = min(0.0, *values), max(1.0, *values)

    def place(value: float) -> str:
        return f"{3 + 94 * (value - low) / (high - low):.2f}%"

    bars = [
        Bar(name, interval, place(interval.mean), *(map(place, bounds_of(interval))))
        for name, interval in sides.items()
    ]
    ticks = [low + part * (high - low) / 4 for part in range(5)]
    return Figure(bars, [(place(value), f"{value:.2f}") for value in ticks])


def bounds_of(interval: Interval) -> tuple[float, float]:
    """Where an interval begins and ends, for drawing; the mean itself if the rows allow no interval."""
    if interval.low is None or interval.high is None:
        return interval.mean, interval.mean
    return interval.low, interval.high


def pass_at(evaluation: Evaluation) -> list[tuple[str, float | None, float | None]]:
    """(k, base, tuned), k rising."""
    base, tuned = (summary.pass_at_k for summary in _summaries(evaluation))
    return [(k, base.get(k), tuned.get(k)) for k in sorted(base.keys() | tuned.keys(), key=int)]


def _summaries(evaluation: Evaluation) -> tuple[SideSummary, SideSummary]:
    """The results of both models."""
    assert evaluation.tuned is not None, f"{evaluation} compares nothing"
    return evaluation.base, evaluation.tuned


# --- CSV -------------------------------------------------------------------------------------------


def table(rows: QuerySet[ComparedRow]) -> Iterator[Sequence[object]]:
    """A header, then an answer a row: every sample of both models on each of these rows."""
    names = sorted({name for row in _batches(rows) for _, _, s in _samples(row) for name in s["sub_rewards"]})
    yield [*COLUMNS, *(f"sub_reward.{name}" for name in names), *ROW_COLUMNS]
    for row in _batches(rows):
        yield from _lines(row, names)


def _batches(rows: QuerySet[ComparedRow]) -> Iterator[ComparedRow]:
    """The rows by their place, a batch a query, so that no cursor stays open while a slow reader pauses."""
    last = -1
    while batch := list(rows.order_by("index").filter(index__gt=last)[:BATCH]):
        yield from batch
        last = batch[-1].index


def _samples(row: ComparedRow) -> Iterator[tuple[str, int, dict[str, Any]]]:
    for side, samples in (("base", row.base), ("tuned", row.tuned)):
        for number, sample in enumerate(samples, start=1):
            yield side, number, sample


def _lines(row: ComparedRow, names: list[str]) -> Iterator[list[object]]:
    for side, number, sample in _samples(row):
        yield [
            *(row.index, row.row_id, side, number, sample["reward"], sample["error_class"]),
            *(sample["length"], sample["truncated"]),
            *(sample["sub_rewards"].get(name) for name in names),
            *(row.base_reward, row.tuned_reward, row.change),
            *(row.base_right, row.tuned_right, _coverage(row)),
            *(_remarks(row), row.prompt, sample["completion"]),
        ]


def _coverage(row: ComparedRow) -> str:
    """As ``GAINED`` and ``LOST`` say."""
    if row.base_right is None or row.tuned_right is None or (row.base_right > 0) == (row.tuned_right > 0):
        return ""
    return "gained" if row.tuned_right else "lost"


def _remarks(row: ComparedRow) -> str:
    return "\n".join(f"{note.author or 'a former member'}: {note.text}" for note in row.notes.all())
