"""Check a grader's version: what it pays for cheats, and for the answers that its team knows."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from webapp.core.fields import storable
from webapp.datasets.models import DatasetVersion
from webapp.graders.checks.cheats import Cheat, GradedCheat, list_cheats, report_cheat, report_references
from webapp.graders.definitions.full_marks import FullAnswer
from webapp.graders.models import FULL_MARKS, GraderCheck, GraderTest, GraderVersion
from webapp.graders.queues import CHECKS
from webapp.graders.rows import Row
from webapp.graders.trials import row_selection
from webapp.work.models import WorkState
from workers import grading
from workers.bridge.gradings import Answer, graded
from workers.bridge.running import run_item

ROWS = 24
ROWS_WITH_JUDGE = 8  # each costs a call a cheat
SEED = 0
Json = dict[str, Any]


def run_check(check_id: int) -> None:
    """Run a queued check."""
    run_item(CHECKS, check_id, _run_check)


def _run_check(check: GraderCheck, folder: Path, lost: threading.Event) -> None:
    version = row_selection.find_dataset_version(check.version.grader, check.version.definition)
    exam, tests = _exam(check, version), list(check.version.grader.tests.all())
    subjects = [_known(test) for test in tests] + exam.subjects()
    beside = _true_answers(check.version, tests) if exam.relative else []
    team, answers = check.version.grader.team, subjects + beside
    results = graded(team, check.version.definition, answers, folder, lost)
    known = {test.uid: _outcome(test, result) for test, result in zip(tests, results, strict=False)}
    exam.grades = results[len(tests) : len(subjects)]
    state = WorkState.FINISHED if version else WorkState.WAITING_FOR_ROWS
    CHECKS.finish(check, state, results=exam.results() | {"tests": known}, dataset_version=version)


def _known(test: GraderTest) -> Answer:
    return Answer(test.answer, test.row.get("item", {}), f"known {test.row.get('row_id', test.uid)}")


def _true_answers(version: GraderVersion, tests: list[GraderTest]) -> list[Answer]:
    """What a comparing grader ranks the known answers against: the true one to each of their rows."""
    found: dict[str, Answer] = {}
    for test in tests:
        item, group = test.row.get("item", {}), _known(test).group
        full = row_selection.find_full_answer(version.grader, version.definition, list(item))
        if text := full.fill(item):
            found[group] = Answer(text, item, group)
    return list(found.values())


def _outcome(test: GraderTest, result: Json) -> Json:
    told = {key: result[key] for key in ("reward", "error_class", "error_detail", "explanation")}
    return told | {"passed": test.passed_by(result["reward"])}


# --- cheats ----------------------------------------------------------------------------------------


@dataclass
class Exam:
    """Cheats and true references for some rows, in one order: what was asked, then what it was paid."""

    rows: list[Row]
    full_answer: FullAnswer
    threshold: float
    tried: list[Cheat]
    relative: bool = False
    grades: list[Json] = field(default_factory=list)

    def __post_init__(self) -> None:
        asked: list[tuple[Cheat | None, list[str | None]]]
        own = [self.full_answer.fill(row["item"]) if self.full_answer else None for row in self.rows]
        asked = [(None, own), *((each, each.answers(self.rows, own)) for each in self.tried)]
        self.asked = [
            (cheat, row, storable(answer))
            for cheat, answers in asked
            for row, answer in zip(self.rows, answers, strict=True)
            if answer is not None
        ]

    def subjects(self) -> list[Answer]:
        """Answers to one row form a group, so that a ranking compares the cheats with the reference."""
        return [Answer(answer, row["item"], row["row_id"]) for _, row, answer in self.asked]

    def results(self) -> Json:
        """As ``GraderCheck.results`` keeps it."""
        faults = [grade["error_detail"] for grade in self.grades if grade["reward"] is None]
        usage = [use for grade in self.grades for use in grade["usage"].values()]
        return {
            "rows": len(self.rows),
            "field": self.full_answer.field,
            "answer": str(self.full_answer),
            "threshold": self.threshold,
            "relative": self.relative,
            "reference": report_references(self._paid(None), FULL_MARKS),
            "cheats": [
                report_cheat(each, self._paid(each), self.threshold, relative=self.relative)
                for each in self.tried
            ],
            "failures": len(faults),
            "failure": faults[0] if faults else "",
            "tokens": sum(use["total_tokens"] for use in usage),
            "cost": sum(use["cost"] for use in usage),
        }

    def _paid(self, cheat: Cheat | None) -> list[GradedCheat]:
        asked = list(zip(self.asked, self.grades, strict=True))
        true = {row["row_id"]: (answer, grade["reward"]) for (c, row, answer), grade in asked if c is None}
        found = []
        for (tried, row, answer), grade in asked:
            if tried is cheat:
                reference, true_reward = true.get(row["row_id"], (None, None))
                why = grade["error_detail"] or grade["explanation"]
                right = answer == reference
                found.append(GradedCheat(row, answer, grade["reward"], right, true_reward, why or ""))
        return found


def _exam(check: GraderCheck, version: DatasetVersion | None) -> Exam:
    """The same rows for every version, so that versions compare."""
    grader, definition, parsed = check.version.grader, check.version.definition, check.version.parsed
    judged, relative = bool(grading.judge_models(parsed)), grading.compares_answers(parsed)
    if version is None:
        return Exam([], FullAnswer(), grader.cheat_threshold, [], relative)
    rows = row_selection.random_rows(version, "train", ROWS_WITH_JUDGE if judged else ROWS, SEED)
    full = row_selection.find_full_answer(grader, definition, row_selection.list_field_names(version))
    return Exam(rows, full, grader.cheat_threshold, list_cheats(judged), relative)
