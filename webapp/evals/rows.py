"""The rows of a run: objects with an ``item`` and, unless a model answers, a ``sample``."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

from webapp.core.api.errors import ApiError, NotFound
from webapp.datasets.content.problems import FileError, RowError
from webapp.datasets.files.checking import describe_problem
from webapp.datasets.files.file_content import read_chunks
from webapp.datasets.files.models import ApiFile
from webapp.datasets.files.services import find_file
from webapp.datasets.formats import jsonl
from webapp.evals.data_sources import STORED, DataSource
from webapp.evals.models import Eval
from webapp.evals.stored import ITEM_SCHEMA, list_references
from webapp.teams.models import Team
from workers.contract.json_types import JsonObject

MOST_ROWS = 5_000
MOST_BYTES = 32 * 2**20
PARAM = "data_source.source"


def read_rows(found: Eval, asked: DataSource) -> list[JsonObject]:
    """Return the rows. Raises ApiError with the first row that the eval cannot use."""
    if asked.source.type == STORED:
        return _select_stored(found, asked)
    rows = _read_content(found.team, asked)
    if not 1 <= len(rows) <= MOST_ROWS:
        raise _refuse(f"A run has from 1 to {MOST_ROWS:,} rows.")
    needs_sample = asked.type == "jsonl" and _uses_sample(found)
    for number, row in enumerate(rows, 1):
        _check_row(found, number, row, needs_sample)
    return rows


def _select_stored(found: Eval, asked: DataSource) -> list[JsonObject]:
    for name in _list_required(found):
        if name not in ITEM_SCHEMA["properties"]:
            raise _refuse(f"Items of stored completions have no {name!r}, which the item schema requires.")
    references = list_references(found, asked.source, MOST_ROWS)
    if not references:
        raise _refuse("No stored completion has this metadata, model and time.")
    return references


def _list_required(found: Eval) -> list[str]:
    schema: Any = found.item_schema
    required = schema.get("required")
    return required if isinstance(required, list) else []


def _read_content(team: Team, asked: DataSource) -> list[JsonObject]:
    source = asked.source
    if source.type == "file_content":
        return [row.model_dump(mode="json", exclude_none=True) for row in source.content or []]
    try:
        file = find_file(team, source.id or "")
    except NotFound as error:
        raise ApiError(str(error), param=f"{PARAM}.id", code="invalid_value") from error
    if file.bytes > MOST_BYTES:
        raise _refuse(f"The file has {file.bytes:,} bytes; a run takes at most {MOST_BYTES:,}.")
    return list(islice(_parse_file(file), MOST_ROWS + 1))


def _parse_file(file: ApiFile) -> Iterator[JsonObject]:
    content = io.BytesIO(b"".join(read_chunks(file)))
    try:
        for line, _, row in jsonl.read_objects(content):
            if isinstance(row, RowError):
                raise _refuse(describe_problem(row.reason, row.remedy, line))
            yield row
    except FileError as error:
        raise _refuse(describe_problem(error.reason, error.remedy, error.line)) from error


def _check_row(found: Eval, number: int, row: JsonObject, needs_sample: bool) -> None:
    item, sample = row.get("item"), row.get("sample")
    if not isinstance(item, dict):
        raise _refuse(f"Row {number} has no object 'item'.")
    for name in _list_required(found):
        if name not in item:
            raise _refuse(f"Row {number}: the item has no {name!r}, which the item schema requires.")
    if sample is not None and not (isinstance(sample, dict) and isinstance(sample.get("output_text"), str)):
        raise _refuse(f"Row {number}: a sample is an object with a text 'output_text'.")
    if needs_sample and sample is None:
        raise _refuse(f"Row {number} has no 'sample', which a criterion reads.")


def _uses_sample(found: Eval) -> bool:
    """Return True if a template of a criterion names the sample. Python source gets an empty one."""
    return "{{sample." in json.dumps(found.criteria).replace(" ", "")


def _refuse(message: str) -> ApiError:
    return ApiError(message, param=PARAM, code="invalid_value")
