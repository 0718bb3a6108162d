"""Try a grader on rows: a base model answers where nobody has, then the sandbox grades."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from webapp.config.fields import storable
from webapp.graders.models import GraderTrial
from workers import events
from workers.bridge import child
from workers.bridge.jobs import local_path
from workers.spec import SampleSpec

TRIAL_SECONDS = 300
Json = dict[str, Any]
log = logging.getLogger(__name__)
State = GraderTrial.State


class TrialFailed(Exception):
    """Why nothing was graded, and what to do."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message, self.remedy = message, remedy


def run_trial(trial_id: int) -> None:
    """Run a queued trial; a second bell for the same one finds nothing to do."""
    queued = GraderTrial.objects.filter(pk=trial_id, state=State.QUEUED)
    if not queued.update(state=State.RUNNING, started_at=timezone.now()):
        return
    trial = GraderTrial.objects.select_related("base_model").get(pk=trial_id)
    folder = settings.WORK_DIR / "trials" / trial.uid
    folder.mkdir(parents=True, exist_ok=True)
    try:
        rows = _answered(trial, folder)
        _finish(
            trial,
            results=[
                _shown(row, graded) for row, graded in zip(rows, _graded(trial, rows, folder), strict=True)
            ],
        )
    except TrialFailed as error:
        _finish(trial, error={"message": error.message, "remedy": error.remedy})
    except Exception as error:  # the person who waits must hear of it
        log.exception("Trial %s failed", trial.uid)
        _finish(trial, error={"message": f"{type(error).__name__}: {error}", "remedy": "Try again."})
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@transaction.atomic
def _finish(trial: GraderTrial, results: list[Json] | None = None, error: Json | None = None) -> None:
    state = State.FAILED if error else State.FINISHED
    GraderTrial.objects.filter(pk=trial.pk, state=State.RUNNING).update(
        state=state, results=results or [], error=error, finished_at=timezone.now()
    )


def _answered(trial: GraderTrial, folder: Path) -> list[Json]:
    """The rows, each with an ``answer``."""
    rows: list[Json] = trial.rows
    open_rows = [row for row in rows if "answer" not in row]
    if not open_rows:
        return rows
    base = trial.base_model
    if base is None:
        raise TrialFailed("These rows have no answers and no base model was chosen.", "Choose a base model.")
    spec = SampleSpec.model_validate(
        {
            "base_model": {
                "id": base.model_id,
                "revision": base.revision or None,
                "path": local_path(base.path),
            },
            "rows": open_rows,
            "max_completion_length": base.settings.get("grpo", {}).get("max_completion_length", 256),
        }
    )
    (folder / "samples.json").write_text(spec.model_dump_json())
    _run_child(["workers.engine", "sample", str(folder / "samples.json"), "--out", str(folder)], folder)
    with (folder / "samples.jsonl").open() as file:
        answers = iter([json.loads(line)["completion"] for line in file])
    return [row if "answer" in row else row | {"answer": next(answers)} for row in rows]


def _run_child(arguments: list[str], folder: Path) -> None:
    output = folder / "child.log"
    with child.started(arguments, {"cpu_cores": 1}, output) as process:
        try:
            process.wait(TRIAL_SECONDS)
        except subprocess.TimeoutExpired:
            raise TrialFailed(
                f"The base model did not answer within {TRIAL_SECONDS} s.",
                "Try fewer rows or a smaller model.",
            ) from None
    if process.returncode:
        raise _said_by_engine(folder) or TrialFailed(f"Sampling failed: {child.tail(output)[-800:]}")


def _said_by_engine(folder: Path) -> TrialFailed | None:
    for event, _ in events.follow(folder / "events.jsonl", 0):
        if isinstance(event, events.ErrorEvent):
            return TrialFailed(event.message, event.remedy)
    return None


def _graded(trial: GraderTrial, rows: list[Json], folder: Path) -> list[Json]:
    request, result = folder / "request.json", folder / "result.json"
    items = [{"output_text": row["answer"], "item": row["item"]} for row in rows]
    request.write_text(json.dumps({"grader": trial.definition, "items": items}))
    command = [sys.executable, "-m", "workers.grading", "grade", str(request), "--out", str(result)]
    try:
        done = subprocess.run(
            command, cwd=settings.BASE_DIR, env=child.environment({"cpu_cores": 1}), capture_output=True,
            text=True, timeout=TRIAL_SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise TrialFailed(
            f"Grading took longer than {TRIAL_SECONDS} s and was stopped.",
            "Try fewer rows, or a faster grader.",
        ) from None
    if not result.exists():
        raise TrialFailed(f"Grading failed: {done.stderr[-800:]}")
    graded: Json = json.loads(result.read_text())
    if refused := graded.get("unavailable"):
        raise TrialFailed(refused["reason"], refused["remedy"])
    results: list[Json] = graded["results"]
    return results


def _shown(row: Json, graded: Json) -> Json:
    shown = graded | {"row_id": row["row_id"], "answer": storable(row["answer"])}
    return shown | {key: storable(shown.get(key)) for key in ("error_detail", "stdout")}
