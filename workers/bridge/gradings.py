"""Grade answers in a child process, in the sandbox, with the team's judges: for trials and checks alike."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings

from webapp.core.fields import storable
from webapp.teams.models import Team
from webapp.work.errors import LeaseLost, WorkFailed
from workers import grading
from workers.bridge import child, judges

GRADING_SECONDS = 300
Json = dict[str, Any]
TEXTS = ("error_detail", "stdout", "explanation")


@dataclass(frozen=True)
class Answer:
    """An answer and the item of its row. Answers to one prompt share a ``group``."""

    text: str
    item: Json
    group: str


def graded(
    team: Team,
    definition: Json,
    answers: Sequence[Answer],
    folder: Path,
    lost: threading.Event,
    *,
    seed: int = 0,
    remember: bool = True,
) -> list[Json]:
    """A ``GradeResult`` as plain data for each answer, in order.

    Raises ``WorkFailed``, and ``LeaseLost`` rather than asking judges for an attempt that has ``lost`` it.

    Unless asked to ``remember``, judges are asked anew whatever the cache holds.
    """
    if lost.is_set():
        raise LeaseLost
    if not answers:
        return []
    try:
        with judges.connected(team, [grading.validate(definition)]) as connection:
            request = _request(definition, answers, connection) | {"seed": seed}
            cache = judges.cache_folder(team) if remember else None
            answered = _run(request, folder, connection, cache)
    except (judges.JudgeUnreachable, grading.GraderInvalid) as error:
        raise WorkFailed(str(error), "Look at the judges of your team.") from error
    return [_storable(result) for result in answered]


def _request(definition: Json, answers: Sequence[Answer], connection: judges.Connection) -> Json:
    items = [{"output_text": each.text, "item": each.item, "group": each.group} for each in answers]
    return {"grader": definition, "items": items, "judges": connection.json}


def _run(request: Json, folder: Path, connection: judges.Connection, cache: Path | None) -> list[Json]:
    asked, result = folder / "request.json", folder / "result.json"
    asked.write_text(json.dumps(request))
    result.unlink(missing_ok=True)
    command = [sys.executable, "-m", "workers.grading", "grade", str(asked), "--out", str(result)]
    secrets = connection.secrets if connection.endpoints else {}
    if connection.endpoints and cache:
        command += ["--judge-cache", str(cache)]
    with child.handed(secrets) as descriptors:
        try:
            done = subprocess.run(
                [*command, *child.options(descriptors)], cwd=settings.BASE_DIR,
                env=child.environment({"cpu_cores": 1}), pass_fds=list(descriptors.values()),
                capture_output=True, text=True, timeout=GRADING_SECONDS,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise WorkFailed(
                f"Grading took longer than {GRADING_SECONDS} s and was stopped.",
                "Try fewer rows, or a faster grader.",
            ) from None
    if not result.exists():
        raise WorkFailed(f"Grading failed: {done.stderr[-800:]}")
    return _results(json.loads(result.read_text()))


def _results(answered: Json) -> list[Json]:
    if refused := answered.get("unavailable"):
        raise WorkFailed(refused["reason"], refused["remedy"])
    if wrong := answered.get("invalid"):
        raise WorkFailed(f"{wrong['param']}: {wrong['message']}", "Correct this field of the grader.")
    results: list[Json] = answered["results"]
    return results


def _storable(result: Json) -> Json:
    return result | {name: storable(result.get(name)) for name in TEXTS}
