"""Try a grader on rows: a base model writes the samples that were asked for, then the sandbox grades."""

from __future__ import annotations

import json
import threading
from functools import partial
from pathlib import Path
from typing import Any

from webapp.core.fields import storable
from webapp.graders.definitions.parsing import field_as_text
from webapp.graders.models import GraderTrial
from webapp.graders.queues import TRIALS
from webapp.graders.trials.statistics import mean
from webapp.work.errors import WorkFailed
from workers.bridge.gradings import Answer, graded
from workers.bridge.jobs.files import local_ref
from workers.bridge.running import run_engine, run_item
from workers.contract.spec import SampleSpec

SAMPLING_SECONDS = 300
SLOW = "Try fewer rows or samples, or a smaller model."
Json = dict[str, Any]


def run_trial(trial_id: int) -> None:
    """Run a queued trial."""
    run_item(TRIALS, trial_id, _run_trial)


def _run_trial(trial: GraderTrial, folder: Path, lost: threading.Event) -> None:
    results = _graded(trial, _answers(trial, folder, lost), folder, lost)
    TRIALS.finish(trial, results=results, summary=_summary(results))


def _summary(results: list[Json]) -> Json:
    scored = [result["reward"] for result in results if result["reward"] is not None]
    return {"answers": len(results), "mean": mean(scored), "errors": len(results) - len(scored)}


# --- answers ---------------------------------------------------------------------------------------


def _answers(trial: GraderTrial, folder: Path, lost: threading.Event) -> list[Json]:
    """What is to be graded, row by row: ``{row, source, number, answer}``."""
    wanted = trial.choices.get("answers", [])
    sampled = _sampled(trial, folder, lost) if "base_model" in wanted else [[] for _ in trial.rows]
    answers: list[Json] = []
    for index, row in enumerate(trial.rows):
        value = field_as_text(row["item"], trial.choices.get("field", ""))
        if "field" in wanted and value is not None:
            answers.append({"row": index, "source": "field", "number": 1, "answer": value})
        if "typed" in wanted:
            text = trial.choices.get("answer", "")
            answers.append({"row": index, "source": "typed", "number": 1, "answer": text})
        answers += [{"row": index, "source": "base_model"} | answer for answer in sampled[index]]
    if not answers:
        raise WorkFailed(
            f"No row has a field {trial.choices.get('field', '')!r}.", "Choose a field that the rows have."
        )
    return answers


def _sampled(trial: GraderTrial, folder: Path, lost: threading.Event) -> list[list[Json]]:
    """The base model's answers to each row."""
    if trial.base_model is None:
        raise WorkFailed("The base model that was to write the answers is gone.", "Choose another one.")
    (folder / "samples.json").write_text(_sample_spec(trial).model_dump_json())
    arguments = ["sample", str(folder / "samples.json"), "--out", str(folder)]
    run_engine(arguments, folder, SAMPLING_SECONDS, lost, SLOW)
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


# --- grades ----------------------------------------------------------------------------------------


def _graded(trial: GraderTrial, answers: list[Json], folder: Path, lost: threading.Event) -> list[Json]:
    """The answers with their grades, and with the second grader's if one was chosen."""
    subjects = [
        Answer(answer["answer"], trial.rows[answer["row"]]["item"], str(answer["row"])) for answer in answers
    ]
    grade_with = partial(graded, trial.team, answers=subjects, folder=folder, lost=lost)
    results = [
        answer | grade | {"answer": storable(answer["answer"])}
        for answer, grade in zip(answers, grade_with(trial.definition), strict=True)
    ]
    if trial.second:
        grades = grade_with(trial.second.definition)
        for result, grade in zip(results, grades, strict=True):
            result["second"] = {key: grade[key] for key in ("reward", "error_class", "error_detail")}
    return results
