"""The errors of a trial, grouped by class and text."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from webapp.graders.models import GraderTrial
from webapp.graders.rows import Grade, GradedAnswer

MOST_ROWS = 12
_OBJECT_ADDRESS = re.compile(r"0x[0-9a-f]{6,}")


@dataclass(frozen=True)
class ErrorGroup:
    """Answers that failed in the same way.

    ``rows`` are the first (row id, number of its failed answers); ``graded`` if they have a reward
    nevertheless.
    """

    key: tuple[str, str]
    detail: str
    count: int
    graded: bool
    rows: list[tuple[str, int]]
    more_rows: int

    @property
    def error_class(self) -> str:
        return self.key[0]


def group_errors(trial: GraderTrial) -> list[ErrorGroup]:
    """Return the errors of the trial's results, the most frequent one first."""
    found: dict[tuple[str, str], list[GradedAnswer]] = {}
    for result in trial.results:
        if result.get("error_class"):
            found.setdefault(_build_key(result), []).append(result)
    groups = [_build_group(trial, key, results) for key, results in found.items()]
    return sorted(groups, key=lambda group: -group.count)


def is_repeated(result: Grade, groups: list[ErrorGroup]) -> bool:
    """Return True if other answers failed in the same way, so that their group shows the error."""
    failed = bool(result.get("error_class"))
    return failed and any(group.count > 1 and group.key == _build_key(result) for group in groups)


def _build_key(result: Grade) -> tuple[str, str]:
    """Return a key that is equal for errors that differ only in the memory addresses of objects."""
    return result["error_class"] or "", _OBJECT_ADDRESS.sub("0x…", result.get("error_detail") or "")


def _build_group(trial: GraderTrial, key: tuple[str, str], results: list[GradedAnswer]) -> ErrorGroup:
    by_row = Counter(result["row"] for result in results)
    rows = [(trial.rows[row]["row_id"], count) for row, count in by_row.items()]
    named, more = rows[:MOST_ROWS], max(0, len(rows) - MOST_ROWS)
    graded = results[0]["reward"] is not None
    return ErrorGroup(key, results[0].get("error_detail") or "", len(results), graded, named, more)
