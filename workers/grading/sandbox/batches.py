"""Grades batches of subjects in a sandbox."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from workers.contract.json_types import JsonObject
from workers.grading.results import Grade, GradeResult, Subject
from workers.grading.sample import TOO_DEEP, as_json, may_nest_too_deeply, nested_too_deeply
from workers.grading.sandbox.pool import Outcome, Request, Sandbox

_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
_ROW_TOO_DEEP = GradeResult(None, error_class="other_error", error_detail=f"the row is {TOO_DEEP}")


def grade_in(sandbox: Sandbox, seed: int) -> Grade:
    """Return a batch grader on a sandbox that holds the source."""

    def grade(subjects: Sequence[Subject]) -> list[GradeResult]:
        requests = [_request_for(subject, seed) for subject in subjects]
        outcomes = iter(sandbox.grade([request for request in requests if request]))
        return [_as_result(next(outcomes)) if request else _ROW_TOO_DEEP for request in requests]

    return grade


def _request_for(subject: Subject, seed: int) -> Request | None:
    """Return the request, or ``None`` if the row is nested too deeply."""
    try:
        request = build_request(subject.text, subject.item, seed)
    except RecursionError:
        return None
    return None if may_nest_too_deeply(request.content) and nested_too_deeply(subject.item) else request


def build_request(text: str, item: JsonObject, seed: int) -> Request:
    """Build a request whose random seed depends only on the job's seed, the completion and its row."""
    content = _encode((as_json(text), item))[:-1]
    digest = hashlib.sha256(f"{seed}\n{content}".encode()).digest()
    return Request(content, int.from_bytes(digest[:4], "big"))


def _as_result(outcome: Outcome) -> GradeResult:
    return GradeResult(
        outcome.reward,
        dict(outcome.sub_rewards),
        error_class=outcome.error_class,
        error_detail=outcome.detail,
        seconds=outcome.seconds,
        stdout=outcome.stdout,
    )
