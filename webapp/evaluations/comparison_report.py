"""The effect of tuning in words, and data of its chart. Presents ``contract.events.Comparison``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from math import comb
from typing import Literal

from django.db.models import Q

from webapp.evaluations.row_outcomes import build_outcomes
from webapp.jobs.models import ComparedRow, Evaluation
from webapp.jobs.monitor.openings import find_openings
from workers.contract.events import Comparison, Interval, PairedPoint, PassCurves
from workers.contract.statistics import FEWEST_ROWS, allow_interval

FEW_ROWS = 200  # below, intervals are too narrow: arXiv 2503.01747 and docs/statistics.md
MORE_ERRORS = 0.01  # share of completions without a grade, tuned minus base, that is reported
LUCK = 0.05  # level of the sign test
MOST_LISTED = 5
REPORTS = ("base", "tuned", "difference", "comparison", "episodes")

GAINED = Q(base_right=0, tuned_right__gt=0)
LOST = Q(base_right__gt=0, tuned_right=0)


# --- in words --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """One sentence that answers "did it help?", and sentences that qualify it."""

    kind: Literal["success", "warning", "info"]
    title: str
    sentences: list[str]


def build_verdict(evaluation: Evaluation, level: float) -> Verdict:
    """Return the verdict on the paired difference; a gain with doubts is no success."""
    if evaluation.difference is None or evaluation.tuned is None:
        return Verdict("warning", "No result: no row was graded for both models.", [])
    difference = evaluation.difference
    found = evaluation.comparison
    doubts = list(_find_doubts(found, difference, evaluation.job.base_label.lower())) if found else []
    doubts += _describe_ungraded(evaluation)
    notes = list(_describe_precision(found, difference)) if found else []
    kind, title = _decide(difference, bool(doubts), found.rows if found else evaluation.rows)
    return Verdict(kind, title, [_describe_means(evaluation, difference, level), *doubts, *notes])


def _decide(
    difference: Interval, doubtful: bool, rows: int
) -> tuple[Literal["success", "warning", "info"], str]:
    if difference.low is None or not allow_interval(rows):
        return "info", f"Fewer than {FEWEST_ROWS} rows cannot show whether training helped."
    if difference.is_above_zero:
        return (
            ("warning", "Training helped, with reservations.")
            if doubtful
            else ("success", "Training helped.")
        )
    if difference.is_below_zero:
        return "warning", "Training made the model worse."
    return "info", "These rows do not show whether training helped."


def _describe_means(evaluation: Evaluation, difference: Interval, level: float) -> str:
    assert evaluation.tuned is not None, f"{evaluation} compares nothing"
    rows = evaluation.comparison.rows if evaluation.comparison else evaluation.rows
    base, tuned = evaluation.base.reward.mean, evaluation.tuned.reward.mean
    together = ", for all tasks together" if evaluation.task else ""
    kind = f"{100 * level:.0f} % interval{together}, " if difference.low is not None else ""
    return (
        f"The mean reward went from {base:.3f} to {tuned:.3f}. Row by row the change is "
        f"{_format_interval(difference)} ({kind}{rows} row{'s' * (rows != 1)})."
    )


def _format_interval(interval: Interval) -> str:
    text = f"{interval.mean:+.3f}"
    if interval.low is not None:
        text += f", between {interval.low:+.3f} and {interval.high:+.3f}"
    return text.replace("-", "\N{MINUS SIGN}")


def _find_doubts(found: Comparison, difference: Interval, base: str) -> Iterator[str]:
    """Yield reasons to doubt a gain."""
    matched = found.length_matched
    if matched and difference.is_above_zero and not matched.gain.is_above_zero:
        longer = f"{matched.length_change:+.1f}".replace("-", "\N{MINUS SIGN}")
        yield (
            f"At equal length the gain is {_format_interval(matched.gain)}: the change of {longer} tokens "
            "per answer may explain all of it."
        )
    if found.curves and _overtakes(found.curves):
        yield (
            f"From {found.curves.crossover} answers per row on, the {base} model is ahead, and beyond noise: "
            "tuning made some right answers more likely and others less likely."
        )
    if _more_than_luck(found.coverage.lost, found.coverage.gained):
        yield (
            f"The {base} model sometimes solved {found.coverage.lost} of {found.coverage.rows} rows that the "
            f"tuned model never solved; only {found.coverage.gained} went the other way."
        )


def _more_than_luck(lost: int, gained: int) -> bool:
    """One-sided sign test: without a change, a row would be lost as often as gained."""
    changed = lost + gained
    return bool(lost) and sum(comb(changed, k) for k in range(lost, changed + 1)) / 2**changed < LUCK


def _describe_ungraded(evaluation: Evaluation) -> list[str]:
    """Completions without a grade are left out: those of the tuned model may hide a loss."""
    assert evaluation.tuned is not None, f"{evaluation} compares nothing"
    base, tuned = evaluation.base.grading_error_share, evaluation.tuned.grading_error_share
    if tuned <= base + MORE_ERRORS:
        return []
    return [
        f"{tuned:.1%} of the tuned model's answers have no grade, compared with {base:.1%} before. They are "
        "left out and may hide a loss."
    ]


def _overtakes(curves: PassCurves) -> bool:
    """Return True if base is ahead beyond the crossover, by a whole interval."""
    if curves.crossover is None:
        return False
    return any(point.difference.is_below_zero for point in curves.points[curves.crossover - 1 :])


def _describe_precision(found: Comparison, difference: Interval) -> Iterator[str]:
    """Yield what the number of rows can and cannot show."""
    undecided = not (difference.is_above_zero or difference.is_below_zero)
    if undecided and found.detectable is not None and allow_interval(found.rows):
        yield (
            f"A true gain of {found.detectable:.3f} would have shown in four of five such tests; "
            f"to see 0.02, test {found.rows_for_2_points:,} rows."
        )
    if not allow_interval(found.rows):
        yield f"No interval is shown below {FEWEST_ROWS} rows: it would be misleading."
    elif found.rows < FEW_ROWS:
        yield (
            f"Only {found.rows} row{'s' * (found.rows != 1)}: below about {FEW_ROWS} such intervals are too "
            "narrow, so read them as hints."
        )


# --- curves ----------------------------------------------------------------------------------------


def build_curves_json(curves: PassCurves, base_label: str) -> str:
    """Return the curves as JSON for ``static/js/curves.js``."""
    marks = [{"x": curves.trusted_k, "label": f"reliable up to k = {curves.trusted_k}"}]
    if curves.crossover:
        marks.append({"x": curves.crossover, "label": f"{base_label} overtakes"})
    sides = [(base_label, [p.base for p in curves.points]), ("Tuned", [p.tuned for p in curves.points])]
    series = [
        {"name": name, **{part: [getattr(each, part) for each in side] for part in ("mean", "low", "high")}}
        for name, side in sides
    ]
    most = len(curves.points)
    return json.dumps(
        {
            "x": [point.k for point in curves.points],
            "ticks": [2**power for power in range(most.bit_length())],
            "x_label": "k, answers per row",
            "y_label": "pass@k",
            "marks": marks,
            "series": series,
        }
    )


def select_points(curves: PassCurves) -> list[PairedPoint]:
    """Return the points of the table: powers of 2, the last, and those that the page mentions."""
    most = len(curves.points)
    wanted = {2**power for power in range(most.bit_length())} | {curves.trusted_k, curves.crossover, most}
    return [point for point in curves.points if point.k in wanted]


# --- ledger ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Side:
    """Rows gained or lost: their number, the number expected by chance, and the first rows."""

    show: str
    title: str
    count: int
    by_chance: float
    rows: list[ComparedRow]


def build_ledger(evaluation: Evaluation, found: Comparison) -> list[Side]:
    """Return the rows gained and the rows lost."""
    gained, lost = (
        list(evaluation.compared_rows.filter(q).defer("base", "tuned", "episodes")[:MOST_LISTED])
        for q in (GAINED, LOST)
    )
    coverage = found.coverage
    return [
        Side("gained", "Newly solved", coverage.gained, coverage.gained_by_chance, gained),
        Side("lost", "No longer solved", coverage.lost, coverage.lost_by_chance, lost),
    ]


def build_context(evaluation: Evaluation) -> dict[str, object]:
    """Return what ``evaluations/paired.html`` shows; nothing for a comparison without pairs."""
    found = evaluation.comparison
    if found is None:
        return {}
    several = found.curves if found.curves and len(found.curves.points) > 1 else None
    return {
        "found": found,
        "curves": several,
        "curves_json": build_curves_json(several, evaluation.job.base_label) if several else "",
        "overtakes": several is not None and _overtakes(several),
        "points": select_points(several) if several else [],
        "ledger": build_ledger(evaluation, found),
        "no_intervals": None if allow_interval(found.rows) else FEWEST_ROWS,
        "few_rows": FEW_ROWS if found.rows < FEW_ROWS else None,
    }


def export_numbers(evaluation: Evaluation, level: float) -> dict[str, object]:
    """Return every number of the comparison as JSON data, without the completions."""
    names = ("stage", "split", "task", "step", "rows", "samples_per_row", "wins", "ties", "losses")
    reports = {name: getattr(evaluation, name) for name in REPORTS}
    rows = evaluation.compared_rows
    outcomes = build_outcomes(evaluation, level)
    return {
        "job": evaluation.job.uid,
        "confidence": level,
        "fewest_rows_for_intervals": FEWEST_ROWS,
        "won_of_decided": outcomes and {"share": outcomes.won, "low": outcomes.low, "high": outcomes.high},
        **{name: getattr(evaluation, name) for name in names},
        **{name: report and report.model_dump(mode="json") for name, report in reports.items()},
        "test_openings": _list_openings(evaluation),
        "gained": list(rows.filter(GAINED).values_list("row_id", flat=True)),
        "lost": list(rows.filter(LOST).values_list("row_id", flat=True)),
    }


def _list_openings(evaluation: Evaluation) -> list[dict[str, object]]:
    """Return the openings of test splits before the job's end; none for a comparison on validation rows."""
    openings = find_openings([evaluation.job]) if evaluation.split == "test" else []
    return [
        {
            "version": str(opening.version),
            "opened_at": opening.version.test_opened_at,
            "before_launch": opening.before_launch,
        }
        for opening in openings
    ]
