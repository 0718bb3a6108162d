"""Demonstrations of an SFT control run, derived from its RFT job."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from webapp.experiments.control_runs import ACCEPTED, select_accepted
from webapp.jobs.models import Job
from workers.bridge.jobs import files
from workers.contract.json_types import JsonObject
from workers.contract.spec import DataFile, DatasetFiles, SftSettings
from workers.grading.results import GradingFault, Subject
from workers.grading.template import parse_template

NAME = "demonstrations.jsonl"
FindCompletion = Callable[[JsonObject], dict[str, str] | None]
"""Returns ``{"completion", "reasoning"}`` of a row, reasoning only if there is one; ``None`` without any."""


class NoDemonstration(files.Damaged):
    """The job has no demonstrations, or a row lacks a field of the template."""

    def __init__(self, message: str) -> None:
        remedy = "Launch the SFT control run again with another template or source."
        super().__init__(message, remedy, "no_demonstrations")


def fetch_demonstrations(job: Job, folder: Path, dataset: DatasetFiles) -> SftSettings | None:
    """Write the job's demonstrations to ``folder``, in the order of the train split.

    ``None`` unless the job trains by SFT. Every attempt writes the same bytes. Raises ``NoDemonstration``.
    """
    if job.sft is None:
        return None
    find = _select_accepted(job) if job.sft.source == ACCEPTED else _fill_template(job.sft.template)
    rows = 0
    with (folder / dataset.train.path).open() as lines, (folder / NAME).open("w") as target:
        for row in map(json.loads, lines):
            if (completion := find(row)) is not None:
                prompt = {key: row[key] for key in ("row_id", "messages", "tools") if key in row}
                target.write(json.dumps(prompt | completion, ensure_ascii=False) + "\n")
                rows += 1
    if not rows:
        raise NoDemonstration("No row of the train split has a demonstration.")
    return SftSettings(
        rows=DataFile(path=NAME, sha256=files.sha256_of(folder / NAME), rows=rows),
        learning_rate=job.sft.learning_rate,
        epochs=job.sft.epochs,
        batch_size=job.sft.batch_size,
    )


def _select_accepted(job: Job) -> FindCompletion:
    """Find the best accepted rollout of each row."""
    assert job.control_of, f"{job} is not a control run"
    best = {
        row_id: {"completion": completion} | ({"reasoning": reasoning} if reasoning else {})
        for row_id, completion, reasoning in select_accepted(job.control_of).values_list(
            "row_id", "completion", "reasoning"
        )
    }
    return lambda row: best.get(str(row["row_id"]))


def _fill_template(text: str) -> FindCompletion:
    """Fill the template with the fields of each row."""
    template = parse_template(text.strip())

    def fill(row: JsonObject) -> dict[str, str]:
        item = row["item"]
        assert isinstance(item, dict), "rows have an object in item"
        try:
            return {"completion": template.fill(Subject("", item))}
        except GradingFault as fault:
            raise NoDemonstration(f"Row {row['row_id']}: {fault}") from fault

    return fill
