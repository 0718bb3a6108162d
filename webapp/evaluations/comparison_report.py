"""What tuning changed, in words and for the chart: presents ``contract.events.Comparison``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from math import comb
from typing import Any, Literal

from django.db.models import Q
from pydantic import BaseModel

from webapp.evaluations.row_outcomes import outcomes_of
from webapp.jobs.models import ComparedRow, Evaluation
from webapp.jobs.monitor.openings import find_openings
from workers.contract.events import Comparison, Interval, PairedPoint, PassCurves
from workers.contract.statistics import FEWEST_ROWS, allow_interval

FEW_ROWS = 200  # below, intervals come out too narrow: arXiv 2503.01747 and docs/statistics.md
MORE_ERRORS = 0.01  # share of answers without a grade, tuned's beyond base's, that is worth a word
LUCK = 0.05
LISTED = 5

GAINED = Q(base_right=0, tuned_right__gt=0)
LOST = Q(base_right__gt=0, tuned_right=0)


# --- in words --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """One sentence that answers "did it help?", and what must be known to read it rightly."""

    kind: Literal["success", "warning", "info"]
    title: str
    sentences: list[str]


def verdict(evaluation: Evaluation, level: float) -> Verdict:
    """From the paired difference; a gain with a reservation is no success."""
    if evaluation.difference is None or evaluation.tuned is None:
        return Verdict("warning", "Nothing can be said: no row was graded for both models.", [])
    difference, found = evaluation.difference, evaluation.comparison
    doubts = list(_doubts(found, difference, evaluation.job.base_label.lower())) if found else []
    doubts += _ungraded(evaluation)
    notes = list(_notes(found, difference)) if found else []
    kind, title = _answer(difference, bool(doubts), found.rows if found else evaluation.rows)
    return Verdict(kind, title, [_measured(evaluation, difference, level), *doubts, *notes])


def _answer(
    difference: Interval, reserved: bool, rows: int
) -> tuple[Literal["success", "warning", "info"], str]:
    if difference.low is None or not allow_interval(rows):
        return "info", f"Fewer than {FEWEST_ROWS} rows cannot show whether training helped."
    if difference.is_above_zero:
        return (
            ("warning", "Training helped, with reservations.")
            if reserved
            else ("success", "Training helped.")
        )
    if difference.is_below_zero:
        return "warning", "Training made the model worse."
    return "info", "These rows do not show whether training helped."


def _measured(evaluation: Evaluation, difference: Interval, level: float) -> str:
    assert evaluation.tuned is not None, f"{evaluation} compares nothing"
    rows = evaluation.comparison.rows if evaluation.comparison else evaluation.rows
    base, tuned = evaluation.base.reward.mean, evaluation.tuned.reward.mean
    together = ", for all tasks together" if evaluation.task else ""
    kind = f"{100 * level:.0f} % interval{together}, " if difference.low is not None else ""
    return (
        f"The mean reward went from {base:.3f} to {tuned:.3f}. Row by row the change is "
        f"{_interval(difference)} ({kind}{rows} row{'s' * (rows != 1)})."
    )


def _interval(interval: Interval) -> str:
    text = f"{interval.mean:+.3f}"
    if interval.low is not None:
        text += f", between {interval.low:+.3f} and {interval.high:+.3f}"
    return text.replace("-", "\N{MINUS SIGN}")


def _doubts(found: Comparison, difference: Interval, base: str) -> Iterator[str]:
    """What takes something from a gain."""
    matched = found.length_matched
    if matched and difference.is_above_zero and not matched.gain.is_above_zero:
        longer = f"{matched.length_change:+.1f}".replace("-", "\N{MINUS SIGN}")
        yield (
            f"At equal length the gain is {_interval(matched.gain)}: the change of {longer} tokens per "
            "answer may be all there is to it."
        )
    if found.curves and _overtakes(found.curves):
        yield (
            f"From {found.curves.crossover} answers per row on, the {base} model is ahead, and beyond noise: "
            "tuning made some right answers surer at the cost of others."
        )
    if _more_than_luck(found.coverage.lost, found.coverage.gained):
        yield (
            f"The {base} model sometimes solved {found.coverage.lost} of {found.coverage.rows} rows that the "
            f"tuned model never solved; only {found.coverage.gained} went the other way."
        )


def _more_than_luck(lost: int, gained: int) -> bool:
    """Sign test, one-sided: had nothing changed, a row would as often be gained as lost."""
    changed = lost + gained
    return bool(lost) and sum(comb(changed, k) for k in range(lost, changed + 1)) / 2**changed < LUCK


def _ungraded(evaluation: Evaluation) -> list[str]:
    """Answers that have no grade are left out; where they are tuned's, a loss may hide among them."""
    assert evaluation.tuned is not None, f"{evaluation} compares nothing"
    base, tuned = evaluation.base.grading_error_share, evaluation.tuned.grading_error_share
    if tuned <= base + MORE_ERRORS:
        return []
    return [
        f"{tuned:.1%} of the tuned model's answers have no grade, against {base:.1%} before: they are left "
        "out and may hide a loss."
    ]


def _overtakes(curves: PassCurves) -> bool:
    """Whether base is ahead somewhere beyond the crossover, with the whole interval."""
    if curves.crossover is None:
        return False
    return any(point.difference.is_below_zero for point in curves.points[curves.crossover - 1 :])


def _notes(found: Comparison, difference: Interval) -> Iterator[str]:
    """How far the numbers reach."""
    undecided = not (difference.is_above_zero or difference.is_below_zero)
    if undecided and found.detectable is not None and allow_interval(found.rows):
        yield (
            f"A true gain of {found.detectable:.3f} would have shown in four of five such tests; "
            f"to see 0.02, test {found.rows_for_2_points:,} rows."
        )
    if not allow_interval(found.rows):
        yield f"No interval is shown below {FEWEST_ROWS} rows: it would claim more than these rows can tell."
    elif found.rows < FEW_ROWS:
        yield (
            f"Only {found.rows} row{'s' * (found.rows != 1)}: below about {FEW_ROWS} such intervals come out "
            "too narrow, so read them as hints."
        )


# --- curves ----------------------------------------------------------------------------------------


def drawn(curves: PassCurves, base_label: str) -> str:
    """The curves as ``static/js/curves.js`` reads them: JSON."""
    marks = [{"x": curves.trusted_k, "label": f"reliable up to k = {curves.trusted_k}"}]
    if curves.crossover:
        marks.append({"x": curves.crossover, "label": f"{base_label} overtakes"})
    sides = [(base_label, [p.base for p in curves.points]), ("Tuned", [p.tuned for p in curves.points])]
    series = [
        {"name": name, **{part: [getattr(each, part) for each in made] for part in ("mean", "low", "high")}}
        for name, made in sides
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


def listed(curves: PassCurves) -> list[PairedPoint]:
    """The points of the table: powers of 2, the last, and those that something is said of."""
    most = len(curves.points)
    wanted = {2**power for power in range(most.bit_length())} | {curves.trusted_k, curves.crossover, most}
    return [point for point in curves.points if point.k in wanted]


# --- ledger ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Side:
    """Rows that changed hands: how many, how many by luck alone, and the first of them."""

    show: str
    title: str
    count: int
    by_chance: float
    rows: list[ComparedRow]


def ledger(evaluation: Evaluation, found: Comparison) -> list[Side]:
    """Rows gained, rows lost."""
    gained, lost = (
        list(evaluation.compared_rows.filter(q).defer("base", "tuned")[:LISTED]) for q in (GAINED, LOST)
    )
    kept = found.coverage
    return [
        Side("gained", "Newly solved", kept.gained, kept.gained_by_chance, gained),
        Side("lost", "No longer solved", kept.lost, kept.lost_by_chance, lost),
    ]


def context(evaluation: Evaluation) -> dict[str, Any]:
    """What ``evaluations/paired.html`` shows; nothing for a comparison without pairs."""
    found = evaluation.comparison
    if found is None:
        return {}
    several = found.curves if found.curves and len(found.curves.points) > 1 else None
    return {
        "found": found,
        "curves": several,
        "curves_json": drawn(several, evaluation.job.base_label) if several else "",
        "overtakes": several is not None and _overtakes(several),
        "points": listed(several) if several else [],
        "ledger": ledger(evaluation, found),
        "no_intervals": None if allow_interval(found.rows) else FEWEST_ROWS,
        "few_rows": FEW_ROWS if found.rows < FEW_ROWS else None,
    }


def exported(evaluation: Evaluation, level: float) -> dict[str, Any]:
    """Every number of the comparison as data, without the answers."""
    names = ("stage", "split", "task", "step", "rows", "samples_per_row", "wins", "ties", "losses")
    reports = ("base", "tuned", "difference", "comparison")
    rows = evaluation.compared_rows
    counted = outcomes_of(evaluation, level)
    return {
        "job": evaluation.job.uid,
        "confidence": level,
        "fewest_rows_for_intervals": FEWEST_ROWS,
        "won_of_decided": counted and {"share": counted.won, "low": counted.low, "high": counted.high},
        **{name: getattr(evaluation, name) for name in names},
        **{name: _dump(getattr(evaluation, name)) for name in reports},
        "test_openings": _openings(evaluation),
        "gained": list(rows.filter(GAINED).values_list("row_id", flat=True)),
        "lost": list(rows.filter(LOST).values_list("row_id", flat=True)),
    }


def _dump(report: BaseModel | None) -> dict[str, Any] | None:
    return report.model_dump(mode="json") if report else None


def _openings(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Openings of test splits before the job's end; none for a comparison on validation rows."""
    openings = find_openings([evaluation.job]) if evaluation.split == "test" else []
    return [
        {
            "version": str(opening.version),
            "opened_at": opening.version.test_opened_at,
            "before_launch": opening.before_launch,
        }
        for opening in openings
    ]
