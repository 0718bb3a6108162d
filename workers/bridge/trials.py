"""Try a grader on rows: a base model writes the samples that were asked for, then the sandbox grades."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
from pathlib import Path
from typing import Any

from django.conf import settings

from webapp.config.fields import storable
from webapp.graders import trial_queue
from webapp.graders.models import GraderTrial
from webapp.graders.reading import text_of
from webapp.graders.statistics import mean
from workers.bridge import child
from workers.bridge.files import local_ref
from workers.bridge.gradings import Answer, NotGraded, graded
from workers.contract import events
from workers.contract.spec import SampleSpec

SAMPLING_SECONDS = 300
Json = dict[str, Any]
log = logging.getLogger(__name__)


class LeaseLost(Exception):
    """Another attempt has taken the trial over; this one must not write any more."""


def run_trial(trial_id: int) -> None:
    """Run a queued trial. A second message for the same trial finds nothing to do."""
    trial = trial_queue.claim_trial(trial_id)
    if trial is None:
        return
    folder = settings.WORK_DIR / "trials" / f"{trial.uid}-{trial.attempt}"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        results = _graded(trial, _answers(trial, folder), folder)
        trial_queue.finish_trial(trial, results, _summary(results))
    except LeaseLost:
        log.warning("Attempt %s of trial %s lost its lease", trial.attempt, trial.uid)
    except NotGraded as error:
        trial_queue.fail_trial(trial, error.message, error.remedy)
    except Exception as error:  # the person who waits must hear of it
        log.exception("Trial %s failed", trial.uid)
        trial_queue.fail_trial(trial, f"{type(error).__name__}: {error}", "Try again.")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _renew(trial: GraderTrial) -> None:
    if not trial_queue.renew_trial(trial):
        raise LeaseLost(trial.uid)


def _summary(results: list[Json]) -> Json:
    scored = [result["reward"] for result in results if result["reward"] is not None]
    return {"answers": len(results), "mean": mean(scored), "errors": len(results) - len(scored)}


# --- answers ---------------------------------------------------------------------------------------


def _answers(trial: GraderTrial, folder: Path) -> list[Json]:
    """What is to be graded, row by row: ``{row, source, number, answer}``."""
    wanted = trial.choices.get("answers", [])
    sampled = _sampled(trial, folder) if "base_model" in wanted else [[] for _ in trial.rows]
    answers: list[Json] = []
    for index, row in enumerate(trial.rows):
        if "field" in wanted and (text := text_of(row, trial.choices.get("field", ""))) is not None:
            answers.append({"row": index, "source": "field", "number": 1, "answer": text})
        if "typed" in wanted:
            text = trial.choices.get("answer", "")
            answers.append({"row": index, "source": "typed", "number": 1, "answer": text})
        answers += [{"row": index, "source": "base_model"} | answer for answer in sampled[index]]
    if not answers:
        raise NotGraded(
            f"No row has a field {trial.choices.get('field', '')!r}.", "Choose a field that the rows have."
        )
    return answers


def _sampled(trial: GraderTrial, folder: Path) -> list[list[Json]]:
    """The base model's answers to each row."""
    if trial.base_model is None:
        raise NotGraded("The base model that was to write the answers is gone.", "Choose another one.")
    (folder / "samples.json").write_text(_sample_spec(trial).model_dump_json())
    _run_child(["workers.engine", "sample", str(folder / "samples.json"), "--out", str(folder)], folder)
    answers: list[list[Json]] = [[] for _ in trial.rows]
    with (folder / "samples.jsonl").open() as file:
        for line in map(json.loads, file):
            of_row = answers[line["row_index"]]
            said = {"answer": line["completion"], "length": line["length"], "truncated": line["truncated"]}
            of_row.append(said | {"number": len(of_row) + 1})
    return answers


def _sample_spec(trial: GraderTrial) -> SampleSpec:
    base = trial.base_model
    assert base is not None
    grpo = base.settings.get("grpo", {})
    return SampleSpec.model_validate(
        {
            "base_model": local_ref(base),
            "rows": trial.rows,
            "samples_per_row": trial.choices.get("samples") or 1,
            "max_completion_length": grpo.get("max_completion_length", 256),
            "seed": trial.choices.get("seed") or 0,
        }
    )


def _run_child(arguments: list[str], folder: Path) -> None:
    output = folder / "child.log"
    with child.started(arguments, {"cpu_cores": 1}, output) as process:
        try:
            process.wait(SAMPLING_SECONDS)
        except subprocess.TimeoutExpired:
            raise NotGraded(
                f"The base model did not answer within {SAMPLING_SECONDS} s.",
                "Try fewer rows or samples, or a smaller model.",
            ) from None
    if process.returncode:
        raise _said_by_engine(folder) or NotGraded(f"Sampling failed: {child.tail(output)[-800:]}")


def _said_by_engine(folder: Path) -> NotGraded | None:
    for event, _ in events.follow(folder / "events.jsonl", 0):
        if isinstance(event, events.ErrorEvent):
            return NotGraded(event.message, event.remedy)
    return None


# --- grades ----------------------------------------------------------------------------------------


def _graded(trial: GraderTrial, answers: list[Json], folder: Path) -> list[Json]:
    """The answers with their grades, and with the second grader's if one was chosen."""
    subjects = [
        Answer(answer["answer"], trial.rows[answer["row"]]["item"], str(answer["row"])) for answer in answers
    ]
    _renew(trial)
    results = [
        answer | grade | {"answer": storable(answer["answer"])}
        for answer, grade in zip(answers, graded(trial.team, trial.definition, subjects, folder), strict=True)
    ]
    if trial.second:
        _renew(trial)
        grades = graded(trial.team, trial.second.definition, subjects, folder)
        for result, grade in zip(results, grades, strict=True):
            result["second"] = {key: grade[key] for key in ("reward", "error_class", "error_detail")}
    return results
