"""``python``: the user's ``grade(sample, item)``, run in the sandbox and nowhere else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from workers.contract.graders import PythonGrader
from workers.grading.results import Grade, GradeResult, Subject
from workers.grading.sample import TOO_DEEP, may_nest_too_deeply, nested_too_deeply
from workers.grading.sandbox import open_sandbox
from workers.grading.sandbox.pool import Outcome, Request, Sandbox

if TYPE_CHECKING:
    from workers.grading.opening import Opening

_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
_ROW_TOO_DEEP = GradeResult(None, error_class="other_error", error_detail=f"the row is {TOO_DEEP}")


def opened(grader: PythonGrader, opening: Opening) -> Grade:
    """A batch grader on a sandbox that holds the source. Raises ``GradingUnavailable``."""
    return in_sandbox(opening.stack.enter_context(open_sandbox(grader.source, opening.limits)), opening.seed)


def in_sandbox(sandbox: Sandbox, seed: int) -> Grade:
    """A batch grader on a sandbox that holds the source."""

    def grade(subjects: Sequence[Subject]) -> list[GradeResult]:
        requests = [_fitting(subject, seed) for subject in subjects]
        outcomes = iter(sandbox.grade([request for request in requests if request]))
        return [_result(next(outcomes)) if request else _ROW_TOO_DEEP for request in requests]

    return grade


def _fitting(subject: Subject, seed: int) -> Request | None:
    """What is sent; nothing if the row is nested too deeply."""
    try:
        made = request(subject.text, subject.item, seed)
    except RecursionError:
        return None
    return None if may_nest_too_deeply(made.told) and nested_too_deeply(subject.item) else made


def request(text: str, item: dict[str, Any], seed: int) -> Request:
    """The dice depend on the job's seed, the answer and its row alone: the same answer meets the same."""
    thoughts = getattr(text, "reasoning", "")
    told = _encode(([text, thoughts] if thoughts else text, item))[:-1]
    digest = hashlib.sha256(f"{seed}\n{told}".encode()).digest()
    return Request(told, int.from_bytes(digest[:4], "big"))


def _result(outcome: Outcome) -> GradeResult:
    return GradeResult(
        outcome.reward,
        dict(outcome.sub_rewards),
        error_class=outcome.error_class,
        error_detail=outcome.detail,
        seconds=outcome.seconds,
        stdout=outcome.stdout,
    )
