"""Grades texts with a judge of the test's own server."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.workers.judge_server import KEY, Answer, JudgeServer
from workers.contract.spec import JudgeEndpoint
from workers.grading import GradeResult, Judges, open_grader, validate

Json = dict[str, Any]
SCORE: Json = {
    "type": "score_model",
    "name": "judge",
    "model": "m",
    "range": [0, 1],
    "input": [
        {"role": "user", "content": "Reference {{item.ref}}, answer {{sample.output_text}}: score 0 to 1."}
    ],
}
RANKING: Json = {
    "type": "ranking",
    "name": "best",
    "model": "m",
    "rubric": "Longer is better.",
    "context": "{{item.ref}}",
}


def grades(
    server: JudgeServer,
    grader: Json,
    texts: Sequence[str],
    *,
    cache: Path | None = None,
    groups: Sequence[str] | None = None,
    seed: int = 0,
    item: Json | None = None,
    **limits: Any,
) -> list[GradeResult]:
    """The results of one batch by one job."""
    endpoint = JudgeEndpoint(base_url=server.url, model="judge-1", **{"timeout_seconds": 2, **limits})
    judges = Judges({"m": endpoint}, {"m": KEY}, cache)
    with open_grader(validate(grader), seed=seed, judges=judges) as grade:
        return grade([(text, {"ref": "r"} if item is None else item) for text in texts], groups)


def verdict(**values: Any) -> Answer:
    return Answer(json.dumps(values))
