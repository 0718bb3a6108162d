"""Check a grader's version: what it pays for cheats, and for the answers that its team knows."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.conf import settings

from webapp.config.fields import storable
from webapp.datasets.models import DatasetVersion
from webapp.graders import checking, choosing
from webapp.graders.cheats import Cheat, Graded, cheats, references, verdict
from webapp.graders.models import GraderCheck, GraderTest
from webapp.graders.reading import Row
from webapp.graders.statistics import mean
from workers import grading
from workers.bridge.gradings import Answer, NotGraded, graded

ROWS = 24
ROWS_WITH_JUDGE = 8  # each costs a call a cheat
SEED = 0
Json = dict[str, Any]
log = logging.getLogger(__name__)


def run_check(check_id: int) -> None:
    """Run a queued check; a second bell for the same one finds nothing to do."""
    check = checking.take(check_id)
    if check is None:
        return
    folder = settings.WORK_DIR / "checks" / f"{check.pk}-{check.attempt}"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        _run(check, folder)
    except NotGraded as error:
        checking.fail(check, error.message, error.remedy)
    except Exception as error:  # the page must not wait for ever
        log.exception("The check of %s failed", check.version)
        checking.fail(check, f"{type(error).__name__}: {error}", "Check again.")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(check: GraderCheck, folder: Path) -> None:
    version = choosing.dataset_version(check.version.grader, check.version.definition)
    exam, tests = _exam(check, version), list(check.version.grader.tests.all())
    subjects = [_known(test) for test in tests] + exam.subjects()
    results = graded(check.version.grader.team, check.version.definition, subjects, folder)
    known = {test.uid: _outcome(test, result) for test, result in zip(tests, results, strict=False)}
    exam.rewards = [result["reward"] for result in results[len(tests) :]]
    exam.faults = [result["error_detail"] for result in results[len(tests) :] if result["reward"] is None]
    checking.finish(check, exam.results() | {"tests": known}, version, waiting=version is None)


def _known(test: GraderTest) -> Answer:
    return Answer(test.answer, test.row.get("item", {}), f"known {test.row.get('row_id', test.uid)}")


def _outcome(test: GraderTest, result: Json) -> Json:
    told = {key: result[key] for key in ("reward", "error_class", "error_detail", "explanation")}
    return told | {"passed": test.passed_by(result["reward"])}


# --- cheats ----------------------------------------------------------------------------------------


@dataclass
class Exam:
    """Cheats and true references for some rows, in one order: what was asked, then what it was paid."""

    rows: list[Row]
    reference_field: str
    threshold: float
    tried: list[Cheat]
    rewards: list[float | None] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        asked: list[tuple[Cheat | None, list[str | None]]]
        asked = [(None, references(self.rows, self.reference_field))]
        asked += [(each, each.answers(self.rows, self.reference_field)) for each in self.tried]
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
        references = self._paid(None)
        scored = [each.reward for each in references if each.reward is not None]
        return {
            "rows": len(self.rows),
            "field": self.reference_field,
            "threshold": self.threshold,
            "reference": {"tried": len(references), "graded": len(scored), "mean": mean(scored)},
            "cheats": [verdict(each, self._paid(each), self.threshold) for each in self.tried],
            "failures": len(self.faults),
            "failure": self.faults[0] if self.faults else "",
        }

    def _paid(self, cheat: Cheat | None) -> list[Graded]:
        return [
            Graded(row, answer, reward)
            for (asked, row, answer), reward in zip(self.asked, self.rewards, strict=True)
            if asked is cheat
        ]


def _exam(check: GraderCheck, version: DatasetVersion | None) -> Exam:
    """The same rows for every version, so that versions compare."""
    grader, definition = check.version.grader, check.version.definition
    if version is None:
        return Exam([], "", grader.cheat_threshold, [])
    judged = bool(grading.judge_models(grading.validate(definition)))
    rows = choosing.randomly(version, "train", ROWS_WITH_JUDGE if judged else ROWS, SEED)
    reference = choosing.reference_of(grader, definition, version)
    return Exam(rows, reference, grader.cheat_threshold, cheats(judged))
