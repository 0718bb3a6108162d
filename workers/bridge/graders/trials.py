"""Trials of a grader on rows: a base model samples completions if requested, then the sandbox grades."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import NotRequired, TypedDict

from webapp.core.fields import replace_nul
from webapp.graders.definitions.parsing import field_as_text
from webapp.graders.models import GraderTrial
from webapp.graders.queues import TRIALS
from webapp.graders.trials.statistics import mean
from webapp.work.errors import WorkFailed
from workers.bridge.graders.gradings import Completion, grade_completions
from workers.bridge.jobs.files import local_ref
from workers.bridge.running import run_engine, run_item
from workers.contract.spec import SampleSpec

SAMPLING_SECONDS = 300
SLOW = "Try fewer rows or samples, or a smaller model."


class TrialCompletion(TypedDict):
    """A completion to grade: the index of its row, its source and its number there; the length of samples."""

    row: int
    source: str
    number: int
    answer: str
    length: NotRequired[int]
    truncated: NotRequired[bool]


def run_trial(trial_id: int) -> None:
    """Run a queued trial."""
    run_item(TRIALS, trial_id, _run_trial)


def _run_trial(trial: GraderTrial, folder: Path, lost: threading.Event) -> None:
    results = _grade(trial, _collect_completions(trial, folder, lost), folder, lost)
    scored = [reward for result in results if isinstance(reward := result["reward"], int | float)]
    summary = {"answers": len(results), "mean": mean(scored), "errors": len(results) - len(scored)}
    TRIALS.finish(trial, results=results, summary=summary)


# --- completions -----------------------------------------------------------------------------------


def _collect_completions(trial: GraderTrial, folder: Path, lost: threading.Event) -> list[TrialCompletion]:
    """Return the completions to grade, row by row."""
    sources = trial.choices.get("answers", [])
    sampled = _sample(trial, folder, lost) if "base_model" in sources else [[] for _ in trial.rows]
    completions: list[TrialCompletion] = []
    for index, row in enumerate(trial.rows):
        if (
            "field" in sources
            and (text := field_as_text(row["item"], trial.choices.get("field", ""))) is not None
        ):
            completions.append({"row": index, "source": "field", "number": 1, "answer": text})
        if "typed" in sources:
            text = trial.choices.get("answer", "")
            completions.append({"row": index, "source": "typed", "number": 1, "answer": text})
        completions += sampled[index]
    if not completions:
        raise WorkFailed(
            f"No row has a field {trial.choices.get('field', '')!r}.", "Choose a field that the rows have."
        )
    return completions


def _sample(trial: GraderTrial, folder: Path, lost: threading.Event) -> list[list[TrialCompletion]]:
    """Sample the base model's completions of each row."""
    if trial.base_model is None:
        raise WorkFailed("The base model of the trial was deleted.", "Choose another base model.")
    (folder / "samples.json").write_text(_sample_spec(trial).model_dump_json())
    arguments = ["sample", str(folder / "samples.json"), "--out", str(folder)]
    run_engine(arguments, folder, SAMPLING_SECONDS, lost, SLOW)
    completions: list[list[TrialCompletion]] = [[] for _ in trial.rows]
    with (folder / "samples.jsonl").open() as file:
        for line in map(json.loads, file):
            of_row = completions[line["row_index"]]
            of_row.append(
                {
                    "row": line["row_index"],
                    "source": "base_model",
                    "number": len(of_row) + 1,
                    "answer": line["completion"],
                    "length": line["length"],
                    "truncated": line["truncated"],
                }
            )
    return completions


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


def _grade(
    trial: GraderTrial, completions: Sequence[TrialCompletion], folder: Path, lost: threading.Event
) -> list[dict[str, object]]:
    """Return the completions with their grades, and with those of the second grader if there is one."""
    texts = [
        Completion(each["answer"], trial.rows[each["row"]]["item"], str(each["row"])) for each in completions
    ]
    grade_with = partial(grade_completions, trial.team, completions=texts, folder=folder, lost=lost)
    results: list[dict[str, object]] = [
        {**each, **asdict(grade), "answer": replace_nul(each["answer"])}
        for each, grade in zip(completions, grade_with(trial.definition), strict=True)
    ]
    if trial.second:
        for result, grade in zip(results, grade_with(trial.second.definition), strict=True):
            result["second"] = {
                "reward": grade.reward,
                "error_class": grade.error_class,
                "error_detail": grade.error_detail,
            }
    return results
