"""The errors of a trial, equal ones together."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

from webapp.graders.models import GraderTrial

ROWS_NAMED = 12
_OBJECT_ADDRESS = re.compile(r"0x[0-9a-f]{6,}")
Json = dict[str, Any]


@dataclass(frozen=True)
class ErrorGroup:
    """Answers that failed alike.

    ``rows`` are the first (row id, number of its answers that failed so); ``graded`` if they earned a reward
    all the same.
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


def error_groups(trial: GraderTrial) -> list[ErrorGroup]:
    """The most frequent error first."""
    found: dict[tuple[str, str], list[Json]] = {}
    for result in trial.results:
        if result.get("error_class"):
            found.setdefault(_key(result), []).append(result)
    groups = [_group(trial, key, results) for key, results in found.items()]
    return sorted(groups, key=lambda group: -group.count)


def is_repeated(result: Json, groups: list[ErrorGroup]) -> bool:
    """True if another answer failed like this one, so that a group tells its error."""
    return bool(result.get("error_class")) and any(g.count > 1 and g.key == _key(result) for g in groups)


def _key(result: Json) -> tuple[str, str]:
    """Equal for errors that differ in the addresses of objects alone."""
    return result["error_class"], _OBJECT_ADDRESS.sub("0x…", result.get("error_detail") or "")


def _group(trial: GraderTrial, key: tuple[str, str], results: list[Json]) -> ErrorGroup:
    by_row = Counter(result["row"] for result in results)
    rows = [(trial.rows[row]["row_id"], count) for row, count in by_row.items()]
    named, more = rows[:ROWS_NAMED], max(0, len(rows) - ROWS_NAMED)
    graded = results[0]["reward"] is not None
    return ErrorGroup(key, results[0].get("error_detail") or "", len(results), graded, named, more)
