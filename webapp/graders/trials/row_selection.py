"""Which rows a grader is tried and checked on. The test split stays sealed: nothing here reads it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from django.core.files.storage import default_storage

from webapp.datasets.models import DatasetVersion
from webapp.datasets.versions import split_files
from webapp.datasets.versions.columns import open_columns
from webapp.datasets.versions.row_search import find_positions
from webapp.graders.definitions.full_marks import FullAnswer, from_field, guess
from webapp.graders.definitions.parsing import Row, item_fields, reference_field
from webapp.graders.models import Grader

Json = dict[str, Any]
SPLITS = ("train", "validation")
MAX_ROWS = 200
SCANNED_ROWS = 200_000  # a search in a web request ends somewhere
_ID_AT = len(b'{"row_id":"')


class NoRows(ValueError):
    """Nothing was chosen; the message says why."""


def first(version: DatasetVersion, split: str, count: int) -> list[Row]:
    """The first rows."""
    return _at(version, split, range(min(count, _size(version, split))))


def randomly(version: DatasetVersion, split: str, count: int, seed: int) -> list[Row]:
    """Rows drawn without repetition, in their order; the same seed draws the same rows."""
    size = _size(version, split)
    return _at(version, split, sorted(random.Random(seed).sample(range(size), min(count, size))))  # noqa: S311


def searched(version: DatasetVersion, split: str, count: int, text: str) -> list[Row]:
    """The first rows that hold ``text`` in a message or a text field, whatever its case."""
    with open_columns(version.files[split]["columns"]) as columns:
        places = find_positions(columns, text, [])[:count]
    return _at(version, split, places.to_pylist())


def named(version: DatasetVersion, split: str, row_ids: Iterable[str]) -> list[Row]:
    """The rows with these ids, or with ids that begin so."""
    starts = tuple(row_id.encode() for row_id in row_ids)
    return _scanned(version, split, MAX_ROWS, lambda line: line[_ID_AT:].startswith(starts))


def _size(version: DatasetVersion, split: str) -> int:
    return int(version.files[split]["rows"])


def _at(version: DatasetVersion, split: str, places: Iterable[int]) -> list[Row]:
    return [_kept(row) for row in split_files.read_rows(version, split, places)]


def _scanned(version: DatasetVersion, split: str, count: int, fits: Callable[[bytes], bool]) -> list[Row]:
    with default_storage.open(version.files[split]["key"]) as file:
        fitting = (line for line in islice(file, SCANNED_ROWS) if fits(line))
        return [_kept(json.loads(line)) for line in islice(fitting, count)]


def _kept(row: Mapping[str, Any]) -> Row:
    return {key: row[key] for key in ("row_id", "messages", "item", "tools") if key in row}


# --- the dataset of a grader -----------------------------------------------------------------------


def field_names(version: DatasetVersion) -> list[str]:
    """The fields of the version's rows."""
    return [field["name"] for field in version.report.get("fields", [])]


def dataset_version(grader: Grader, definition: Json) -> DatasetVersion | None:
    """Whose rows check the grader: the chosen dataset, else the one tried last, else one that fits it."""
    return next((version for version in _candidates(grader, definition) if version), None)


def _candidates(grader: Grader, definition: Json) -> Iterator[DatasetVersion | None]:
    if grader.dataset and not grader.dataset.deleted_at:
        yield grader.dataset.versions.first()
        return
    tried = grader.trials.filter(dataset_version__dataset__deleted_at=None).exclude(dataset_version=None)
    last = tried.select_related("dataset_version__dataset").defer("rows", "results").first()
    yield last.dataset_version.dataset.versions.first() if last and last.dataset_version else None
    yield _fitting(grader, definition)


def _fitting(grader: Grader, definition: Json) -> DatasetVersion | None:
    """The newest dataset whose rows have every field that the grader names."""
    wanted = set(item_fields(definition))
    live = DatasetVersion.objects.filter(dataset__team=grader.team, dataset__deleted_at=None)
    newest = live.order_by("-dataset_id", "-number").distinct("dataset_id").select_related("dataset")
    return next((version for version in newest if wanted <= set(field_names(version))), None)


def full_answer_of(grader: Grader, definition: Json, fields: list[str]) -> FullAnswer:
    """What earns full marks: the template set, else the field set, else what the definition lets guess."""
    if grader.full_answer:
        return FullAnswer(grader.full_answer)
    return from_field(grader.reference_field) or guess(definition, fields)


def reference_of(grader: Grader, definition: Json, version: DatasetVersion) -> str:
    """The field with the right answer: the one set, else the one that its name gives away."""
    return grader.reference_field or reference_field(definition, field_names(version))
