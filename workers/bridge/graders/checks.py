"""Checks of a grader version: its rewards for cheats and for the team's known answers."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path

from webapp.core.fields import replace_nul
from webapp.datasets.models import DatasetVersion
from webapp.graders.checks.cheats import Cheat, GradedCheat, list_cheats, report_cheat, report_references
from webapp.graders.definitions.full_marks import FullAnswer
from webapp.graders.models import FULL_MARKS, GraderCheck, GraderTest, GraderVersion
from webapp.graders.queues import CHECKS
from webapp.graders.rows import Row
from webapp.graders.trials import row_selection
from webapp.work.models import WorkState
from workers import grading
from workers.bridge.graders.gradings import Completion, grade_completions
from workers.bridge.running import run_item
from workers.grading import GradeResult

ROWS = 24
ROWS_WITH_JUDGE = 8  # each costs one call per cheat
SEED = 0


def run_check(check_id: int) -> None:
    """Run a queued check."""
    run_item(CHECKS, check_id, _run_check)


def _run_check(check: GraderCheck, folder: Path, lost: threading.Event) -> None:
    played = grading.reads_episode(check.version.parsed)  # no text can cheat or please an environment
    grader, definition = check.version.grader, check.version.definition
    version = None if played else row_selection.find_dataset_version(grader, definition)
    exam, tests = _build_exam(check, version), list(grader.tests.all())
    answers = [_to_completion(test) for test in tests] + exam.list_completions()
    references = _fill_references(check.version, tests) if exam.relative else []
    results = grade_completions(grader.team, definition, answers + references, folder, lost)
    known = {test.uid: _describe_outcome(test, result) for test, result in zip(tests, results, strict=False)}
    exam.grades = results[len(tests) : len(answers)]
    state = WorkState.FINISHED if version or played else WorkState.WAITING_FOR_ROWS
    CHECKS.finish(check, state, results=exam.report() | {"tests": known}, dataset_version=version)


def _to_completion(test: GraderTest) -> Completion:
    return Completion(test.answer, test.row.get("item", {}), f"known {test.row.get('row_id', test.uid)}")


def _fill_references(version: GraderVersion, tests: list[GraderTest]) -> list[Completion]:
    """Return the full marks for the rows of known answers, for a grader that compares completions."""
    found: dict[str, Completion] = {}
    for test in tests:
        item, group = test.row.get("item", {}), _to_completion(test).group
        full = row_selection.find_full_answer(version.grader, version.definition, list(item))
        if text := full.fill({"item": item}):
            found[group] = Completion(text, item, group)
    return list(found.values())


def _describe_outcome(test: GraderTest, result: GradeResult) -> dict[str, object]:
    return {
        "reward": result.reward,
        "error_class": result.error_class,
        "error_detail": result.error_detail,
        "explanation": result.explanation,
        "passed": test.passed_by(result.reward),
    }


# --- cheats ----------------------------------------------------------------------------------------


@dataclass
class Exam:
    """Cheats and references for some rows. ``entries`` and ``grades`` have the same order."""

    rows: list[Row]
    full_answer: FullAnswer
    threshold: float
    cheats: list[Cheat]
    relative: bool = False
    grades: list[GradeResult] = field(default_factory=list)

    def __post_init__(self) -> None:
        references = [self.full_answer.fill(row["item"]) if self.full_answer else None for row in self.rows]
        sources: list[tuple[Cheat | None, list[str | None]]] = [
            (None, references),
            *((cheat, cheat.answers(self.rows, references)) for cheat in self.cheats),
        ]
        self.entries = [
            (cheat, row, replace_nul(answer))
            for cheat, answers in sources
            for row, answer in zip(self.rows, answers, strict=True)
            if answer is not None
        ]

    def list_completions(self) -> list[Completion]:
        """Return the cheats and references; those of one row are a group, so that a ranking compares them."""
        return [Completion(answer, row["item"], row["row_id"]) for _, row, answer in self.entries]

    def report(self) -> dict[str, object]:
        """Return ``GraderCheck.results``."""
        failures = [grade.error_detail for grade in self.grades if grade.reward is None]
        usage = [use for grade in self.grades for use in grade.usage.values()]
        return {
            "rows": len(self.rows),
            "field": self.full_answer.field,
            "answer": str(self.full_answer),
            "threshold": self.threshold,
            "relative": self.relative,
            "reference": report_references(self._collect(None), FULL_MARKS),
            "cheats": [
                report_cheat(each, self._collect(each), self.threshold, relative=self.relative)
                for each in self.cheats
            ],
            "failures": len(failures),
            "failure": failures[0] if failures else "",
            "tokens": sum(use["total_tokens"] for use in usage),
            "cost": sum(use["cost"] for use in usage),
        }

    def _collect(self, cheat: Cheat | None) -> list[GradedCheat]:
        """Return the graded completions of one cheat, or of the references, with each row's reference."""
        graded = list(zip(self.entries, self.grades, strict=True))
        references = {
            row["row_id"]: (answer, grade.reward) for (source, row, answer), grade in graded if source is None
        }
        found = []
        for (source, row, answer), grade in graded:
            if source is cheat:
                reference, reference_reward = references.get(row["row_id"], (None, None))
                why = grade.error_detail or grade.explanation
                found.append(
                    GradedCheat(row, answer, grade.reward, answer == reference, reference_reward, why or "")
                )
        return found


def _build_exam(check: GraderCheck, version: DatasetVersion | None) -> Exam:
    """Build the exam. Every version gets the same rows, so that versions can be compared."""
    grader, definition = check.version.grader, check.version.definition
    parsed = grading.validate(definition)
    judged, relative = bool(grading.judge_models(parsed)), grading.compares_answers(parsed)
    if version is None:
        return Exam([], FullAnswer(), grader.cheat_threshold, [], relative)
    rows = row_selection.random_rows(version, "train", ROWS_WITH_JUDGE if judged else ROWS, SEED)
    full = row_selection.find_full_answer(grader, definition, row_selection.list_field_names(version))
    return Exam(rows, full, grader.cheat_threshold, list_cheats(judged), relative)
