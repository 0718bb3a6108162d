"""Grading of completions in a child process, in the sandbox and with the team's judges."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from django.conf import settings

from webapp.core.fields import replace_nul
from webapp.teams.models import Team
from webapp.work.errors import LeaseLost, WorkFailed
from workers import grading
from workers.bridge import child, judges
from workers.contract.devices import GivenDevices
from workers.contract.json_types import JsonObject
from workers.grading import GradeResult

GRADING_SECONDS = 300


@dataclass(frozen=True)
class Completion:
    """A completion and the item of its row. Completions of one prompt share a ``group``."""

    text: str
    item: JsonObject
    group: str


def grade_completions(
    team: Team,
    definition: JsonObject,
    completions: Sequence[Completion],
    folder: Path,
    lost: threading.Event,
    *,
    seed: int = 0,
    use_cache: bool = True,
) -> list[GradeResult]:
    """Return the grade of each completion, in order; texts are such that the database can store them.

    Raises ``WorkFailed``. Raises ``LeaseLost`` if the attempt has ``lost`` its lease, before judges are paid.
    Without ``use_cache`` judges are asked again.
    """
    if lost.is_set():
        raise LeaseLost
    if not completions:
        return []
    try:
        with judges.connect_judges(team, [definition], lost) as connection:
            items = [
                {"output_text": each.text, "item": each.item, "group": each.group} for each in completions
            ]
            request = {"grader": definition, "items": items, "judges": connection.json, "seed": seed}
            cache = judges.cache_folder(team) if use_cache else None
            results = _run_grading(request, folder, connection, cache)
    except (judges.JudgeUnreachable, grading.GraderInvalid) as error:
        raise WorkFailed(str(error), "Check the judges of your team.") from error
    return [_make_storable(result) for result in results]


def _run_grading(
    request: dict[str, object], folder: Path, connection: judges.Connection, cache: Path | None
) -> list[GradeResult]:
    request_file, result_file = folder / "request.json", folder / "result.json"
    request_file.write_text(json.dumps(request))
    result_file.unlink(missing_ok=True)
    command = [sys.executable, "-m", "workers.grading", "grade", str(request_file), "--out", str(result_file)]
    secrets = connection.secrets if connection.endpoints else {}
    if connection.endpoints and cache:
        command += ["--judge-cache", str(cache)]
    with child.open_pipes(secrets) as descriptors:
        try:
            done = subprocess.run(
                [*command, *child.format_options(descriptors)], cwd=settings.BASE_DIR,
                env=child.build_environment(GivenDevices(cpu_cores=1)), pass_fds=list(descriptors.values()),
                capture_output=True, text=True, timeout=GRADING_SECONDS,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise WorkFailed(
                f"Grading took longer than {GRADING_SECONDS} s and was stopped.",
                "Try fewer rows, or a faster grader.",
            ) from None
    if not result_file.exists():
        raise WorkFailed(f"Grading failed: {done.stderr[-800:]}")
    response = json.loads(result_file.read_text())
    if unavailable := response.get("unavailable"):
        raise WorkFailed(unavailable["reason"], unavailable["remedy"])
    if invalid := response.get("invalid"):
        raise WorkFailed(f"{invalid['param']}: {invalid['message']}", "Correct this field of the grader.")
    return [GradeResult(**result) for result in response["results"]]


def _make_storable(result: GradeResult) -> GradeResult:
    return replace(
        result,
        error_detail=replace_nul(result.error_detail),
        stdout=replace_nul(result.stdout),
        explanation=replace_nul(result.explanation),
    )
