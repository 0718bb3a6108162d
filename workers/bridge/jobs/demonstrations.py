"""Demonstrations of an SFT control run, written from its RFT job."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from webapp.experiments.control_runs import ACCEPTED, select_accepted
from webapp.jobs.models import Job
from workers.bridge.jobs import files
from workers.grading.results import GradingFault, Subject
from workers.grading.template import parse_template

NAME = "demonstrations.jsonl"
FIELDS = ("completion", "reasoning")
Answer = Callable[[dict[str, Any]], dict[str, str] | None]
"""From a row to its completion, and to the thoughts before it if there are any."""


class NoDemonstration(files.Damaged):
    """There is nothing to learn from, or a row lacks what the template asks for."""

    def __init__(self, message: str) -> None:
        remedy = "Launch the SFT control run again with another template or source."
        super().__init__(message, remedy, "no_demonstrations")


def fetch_demonstrations(job: Job, folder: Path, splits: dict[str, Any]) -> dict[str, Any] | None:
    """``JobSpec.sft`` of the job, its rows below ``folder`` in the order of the train split.

    ``None`` unless the job trains by SFT. Every attempt writes the same bytes. Raises ``NoDemonstration``.
    """
    if job.sft is None:
        return None
    answer = _accepted(job) if job.sft.source == ACCEPTED else _filled(job.sft.template)
    rows = 0
    with (folder / splits["train"]["path"]).open() as lines, (folder / NAME).open("w") as target:
        for row in map(json.loads, lines):
            if (answered := answer(row)) is not None:
                shown = {key: row[key] for key in ("row_id", "messages", "tools") if key in row}
                target.write(json.dumps(shown | answered, ensure_ascii=False) + "\n")
                rows += 1
    if not rows:
        raise NoDemonstration("No row of the train split has a demonstration.")
    file = {"path": NAME, "sha256": files.sha256_of(folder / NAME), "rows": rows}
    return {"rows": file, **job.sft.model_dump(include={"learning_rate", "epochs", "batch_size"})}


def _accepted(job: Job) -> Answer:
    """The best accepted rollout of the row, if there is one."""
    assert job.control_of, f"{job} is no control run"
    best = {row_id: said for row_id, *said in select_accepted(job.control_of).values_list("row_id", *FIELDS)}

    def find(row: dict[str, Any]) -> dict[str, str] | None:
        said = best.get(row["row_id"])
        return (
            {name: text for name, text in zip(FIELDS, said, strict=True) if text or name == FIELDS[0]}
            if said
            else None
        )

    return find


def _filled(text: str) -> Answer:
    """The template, filled with the row's fields."""
    template = parse_template(text.strip())

    def fill(row: dict[str, Any]) -> dict[str, str]:
        try:
            return {"completion": template.fill(Subject("", row["item"]))}
        except GradingFault as fault:
            raise NoDemonstration(f"Row {row['row_id']}: {fault}") from fault

    return fill
