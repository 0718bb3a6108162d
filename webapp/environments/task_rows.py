"""Tasks as rows of a dataset: their shape, and the dataset version that they become."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from django.core.files import File
from django.db import transaction

from webapp.datasets.content.rows import SPLITS
from webapp.datasets.models import DatasetVersion, Upload
from webapp.datasets.uploads import services as uploads
from webapp.datasets.uploads.validation import Options
from webapp.environments.models import TaskDataset
from webapp.environments.queues import TASK_DATASETS
from webapp.work.errors import WorkFailed
from workers.contract.json_types import JsonObject, JsonValue

SPLIT = "split of the task"  # a column that no task has; its values become splits
OWN_FIELDS = ("messages", "tools", SPLIT)
REFUSED_ROWS = 3


def encode_row(
    split: str, task: JsonObject, system_prompt: str, prompt: str, tools: Sequence[JsonObject]
) -> str:
    """Return a task as a line of a file. Raises ``WorkFailed`` if its fields would hide the row's own."""
    if taken := [name for name in OWN_FIELDS if name in task]:
        raise WorkFailed(
            f"A task of the split {split} has a field {taken[0]!r}, which rows have for themselves.",
            "Give the argument of reset another name.",
        )
    messages: list[JsonValue] = [{"role": "user", "content": prompt}]
    if system_prompt:
        messages.insert(0, {"role": "system", "content": system_prompt})
    own: JsonObject = {"messages": messages, SPLIT: split}
    return json.dumps({**task, **own} | ({"tools": [*tools]} if tools else {})) + "\n"


def check_splits(names: Sequence[str]) -> None:
    """Raise ``WorkFailed`` unless the splits are those of datasets, and one is for training."""
    if unknown := [name for name in names if name not in SPLITS]:
        raise WorkFailed(
            f"The environment has a split {unknown[0]!r}, and datasets have train, validation and test.",
            "Name the splits of list_splits so.",
        )
    if "train" not in names:
        raise WorkFailed(
            "The environment has no split train, so no job could learn from the dataset.",
            "Return train from list_splits.",
        )


def store_tasks(made: TaskDataset, path: Path) -> None:
    """Make a dataset version of the rows in a file, and finish the work item. Raises ``WorkFailed``."""
    name, options = made.version.environment.name, Options(messages_column="messages", split=SPLIT)
    with path.open("rb") as file:
        wrapped = File(file, name=f"{made.version}.jsonl")
        upload = uploads.receive_file(made.team, made.created_by, name, wrapped, options, made.dataset)
    if upload.report["bad"]:
        reasons = " ".join(error["reason"] for error in upload.report["errors"][:REFUSED_ROWS])
        uploads.discard_upload(upload, None)
        raise WorkFailed(f"{upload.report['bad']:,} tasks cannot be rows: {reasons}", "Change these tasks.")
    # Tasks with equal prompts differ in what the environment hides, so they leak nothing to other splits.
    upload.report["overlap"] = {"prompts": 0, "rows": 0, "examples": []}
    with transaction.atomic():
        version = _commit(made, upload)
        TASK_DATASETS.finish(made, dataset=version.dataset, dataset_version=version)


def _commit(made: TaskDataset, upload: Upload) -> DatasetVersion:
    try:
        return uploads.commit_upload(upload, made.created_by, uploads.Choices())[0]
    except uploads.CannotCommit as error:
        raise WorkFailed(str(error)) from error
