"""The open splits of dataset versions as files of the API, for versions that were made on a page."""

from __future__ import annotations

from collections.abc import Iterator

from django.core.files.storage import default_storage
from django.db.models import QuerySet
from django.utils.text import slugify

from webapp.datasets.content.row_types import StoredRow
from webapp.datasets.content.rows import Split, encode_training_line
from webapp.datasets.content.strict_json import parse_json
from webapp.datasets.files.models import ApiFile, Purpose
from webapp.datasets.models import DatasetVersion


def name_split(version: DatasetVersion, split: Split) -> str:
    """Return a file name for a split, such as ``invoices-v2-train.jsonl``."""
    return f"{slugify(version.dataset.name) or 'dataset'}-v{version.number}-{split.label}.jsonl"


def create_split_files(version: DatasetVersion) -> None:
    """Give the training and the validation split of a version ids in the API.

    The id of a version is that of its training file. The sealed split gets none, so nobody reads it there.
    """
    version.training_file = _create_file(version, Split.TRAIN, version.uid)
    if version.files[Split.VALIDATION.label]["rows"]:
        version.validation_file = _create_file(version, Split.VALIDATION)
    version.save(update_fields=["training_file", "validation_file"])


def _create_file(version: DatasetVersion, split: Split, uid: str = "") -> ApiFile:
    stored = version.files[split.label]
    return ApiFile.objects.create(
        **({"uid": uid} if uid else {}),
        team=version.dataset.team,
        created_by=version.created_by,
        filename=name_split(version, split),
        purpose=Purpose.FINE_TUNE,
        bytes=stored["training_bytes"],
        sha256=stored["sha256"],
        rows=stored["rows"],
        version=version,
        split=split.label,
    )


def find_split_file(version: DatasetVersion, split: Split) -> ApiFile | None:
    """Return the file by which callers of the API name a split, if there is one."""
    key = {Split.TRAIN: version.training_file_id, Split.VALIDATION: version.validation_file_id}.get(split)
    files: QuerySet[ApiFile] = ApiFile.objects.available()
    return files.filter(pk=key).first() if key else None


def read_split_lines(file: ApiFile) -> Iterator[bytes]:
    """Yield the rows of a file that is a split, as lines in OpenAI's format."""
    assert file.version, f"{file.uid} has bytes of its own"
    with default_storage.open(file.version.files[file.split]["key"]) as stored:
        for line in stored:
            row: StoredRow = parse_json(line.decode())
            yield encode_training_line(row["messages"], row.get("tools", []), row["item"])
