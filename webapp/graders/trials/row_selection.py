"""Select the rows of trials and checks. The test split stays sealed: nothing here reads it."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import cast

from django.core.files.storage import default_storage

from webapp.datasets.models import DatasetVersion
from webapp.datasets.versions import split_files
from webapp.datasets.versions.columns import open_columns
from webapp.datasets.versions.row_search import find_positions
from webapp.graders.definitions.full_marks import FullAnswer, from_field, guess_full_answer
from webapp.graders.definitions.parsing import (
    find_item_fields,
    guess_reference_field,
)
from webapp.graders.models import Grader
from webapp.graders.rows import Row
from workers.contract.json_types import JsonObject

SPLITS = ("train", "validation")
MAX_ROWS = 200
SCANNED_ROWS = 200_000  # bounds the time of a web request
_ID_OFFSET = len(b'{"row_id":"')


def first_rows(version: DatasetVersion, split: str, count: int) -> list[Row]:
    """Return the first rows."""
    return read_rows(version, split, range(min(count, version.files[split]["rows"])))


def random_rows(version: DatasetVersion, split: str, count: int, seed: int) -> list[Row]:
    """Draw rows without repetition, in their order; the same seed draws the same rows."""
    size = version.files[split]["rows"]
    indices = random.Random(seed).sample(range(size), min(count, size))  # noqa: S311
    return read_rows(version, split, sorted(indices))


def search_rows(version: DatasetVersion, split: str, count: int, text: str) -> list[Row]:
    """Return the first rows with ``text`` in a message or a text field, whatever its case."""
    with open_columns(version.files[split]["columns"]) as columns:
        indices = find_positions(columns, text, [])[:count]
    return read_rows(version, split, indices.to_pylist())


def rows_by_id(version: DatasetVersion, split: str, row_ids: Iterable[str]) -> list[Row]:
    """Return the rows whose ids begin with one of ``row_ids``."""
    starts = tuple(row_id.encode() for row_id in row_ids)
    with default_storage.open(version.files[split]["key"]) as file:
        # Every line begins with the row's id, so that a line is parsed only if it is wanted.
        found = (line for line in islice(file, SCANNED_ROWS) if line[_ID_OFFSET:].startswith(starts))
        return [_to_row(json.loads(line)) for line in islice(found, MAX_ROWS)]


def read_rows(version: DatasetVersion, split: str, indices: Iterable[int]) -> list[Row]:
    """Return the rows at these indices, from 0."""
    return [_to_row(cast(JsonObject, row)) for row in split_files.read_rows(version, split, indices)]


def _to_row(stored: JsonObject) -> Row:
    return cast(Row, {key: stored[key] for key in ("row_id", "messages", "item", "tools") if key in stored})


# --- the dataset of a grader -----------------------------------------------------------------------


def list_field_names(version: DatasetVersion) -> list[str]:
    """Return the names of the fields of the version's rows."""
    return [field["name"] for field in version.report.get("fields", [])]


def find_dataset_version(grader: Grader, definition: JsonObject) -> DatasetVersion | None:
    """Return the rows to check the grader on: the dataset set, else the last tried, else one that fits."""
    return next((version for version in _walk_candidates(grader, definition) if version), None)


def _walk_candidates(grader: Grader, definition: JsonObject) -> Iterator[DatasetVersion | None]:
    if grader.dataset and not grader.dataset.deleted_at:
        yield grader.dataset.versions.first()
        return
    tried = grader.trials.filter(dataset_version__dataset__deleted_at=None).exclude(dataset_version=None)
    last = tried.select_related("dataset_version__dataset").defer("rows", "results").first()
    yield last.dataset_version.dataset.versions.first() if last and last.dataset_version else None
    yield _find_fitting(grader, definition)


def _find_fitting(grader: Grader, definition: JsonObject) -> DatasetVersion | None:
    """Return the newest dataset's version whose rows have every field that the grader names."""
    wanted = set(find_item_fields(definition))
    live = DatasetVersion.objects.filter(dataset__team=grader.team, dataset__deleted_at=None)
    newest = live.order_by("-dataset_id", "-number").distinct("dataset_id").select_related("dataset")
    return next((version for version in newest if wanted <= set(list_field_names(version))), None)


def find_full_answer(grader: Grader, definition: JsonObject, fields: list[str]) -> FullAnswer:
    """Return the answer that earns full marks: by the template set, else by the field set, else guessed."""
    if grader.full_answer:
        return FullAnswer(grader.full_answer)
    return from_field(grader.reference_field) or guess_full_answer(definition, fields)


def find_reference_field(grader: Grader, definition: JsonObject, version: DatasetVersion) -> str:
    """Return the field with the right answer: the one set, else one with a telling name."""
    return grader.reference_field or guess_reference_field(definition, list_field_names(version))
