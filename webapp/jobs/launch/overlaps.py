"""Training rows whose prompts are held out elsewhere in the same job: its results would be too good."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow.compute as pc

from webapp.datasets.content.rows import Split
from webapp.datasets.models import DatasetVersion
from webapp.datasets.versions.split_files import read_keys
from webapp.jobs.launch.request import TaskChoice

EXAMPLES = 3


@dataclass(frozen=True)
class Overlap:
    """Rows that ``trained`` trains on and that ``held_out`` has in a held-out split."""

    trained: str
    held_out: str
    split: Split
    count: int
    examples: list[str]  # URLs of training rows


def find_overlaps(
    tasks: Sequence[TaskChoice], suites: Sequence[tuple[str, DatasetVersion]] = ()
) -> list[Overlap]:
    """Compare every task's training prompts with the held-out rows of the other tasks and of suites.

    Suites are (name, version); they are scored on validation rows. Prompts that differ only in case and white
    space count as equal.
    """
    held_out = [
        (task, f"task {task.name}", task.dataset_version, split)
        for task in tasks
        for split in (Split.TEST, Split.VALIDATION)
    ] + [(None, f"suite {name}", version, Split.VALIDATION) for name, version in suites]
    pairs = (
        _overlap(task, name, version, split)
        for task in tasks
        for owner, name, version, split in held_out
        if owner is not task and version != task.dataset_version
    )
    return [overlap for overlap in pairs if overlap.count]


def _overlap(task: TaskChoice, name: str, version: DatasetVersion, split: Split) -> Overlap:
    trained = read_keys(task.dataset_version, Split.TRAIN)
    found = trained.filter(pc.is_in(trained["prompt_id"], read_keys(version, split)["prompt_id"]))
    ids = found["row_id"].slice(0, EXAMPLES).to_pylist()
    examples = [task.dataset_version.get_row_url(row_id.hex()) for row_id in ids]
    return Overlap(f"task {task.name}" if task.name else "this job", name, split, len(found), examples)
