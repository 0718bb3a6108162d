"""Uploads: check a file, commit it as a dataset version, discard it."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import IO

from django.conf import settings
from django.core.files import File
from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from webapp.datasets import formats
from webapp.datasets.content import problems
from webapp.datasets.content.limits import EARLIER_ROWS, STALE_UPLOAD_HOURS
from webapp.datasets.content.problems import FileError, Problem, RowError
from webapp.datasets.content.rows import Split
from webapp.datasets.files.models import ApiFile
from webapp.datasets.files.version_files import create_split_files
from webapp.datasets.models import Dataset, DatasetVersion, Upload
from webapp.datasets.reports import SplitFile, UploadReport, VersionReport
from webapp.datasets.uploads.row_progress import RowProgress, track_rows
from webapp.datasets.uploads.validation import (
    Options,
    PassRows,
    Tally,
    build_refusal,
    check_file,
    fill_index,
    read_kept_rows,
)
from webapp.datasets.versions import histograms, split_files
from webapp.datasets.versions.columns import choose_column_types
from webapp.datasets.versions.split_files import WrittenSplits
from webapp.datasets.versions.splits import open_index
from webapp.teams.models import Team, User
from webapp.teams.services import record_event

HEAD_BYTES = 4096


class CannotCommit(ValueError):
    """The upload cannot become a version now. The message gives the reason and the remedy."""


@dataclass(frozen=True)
class Choices:
    """The uploader's decisions on the report."""

    skip_bad: bool = False
    drop_overlap: bool = False


@dataclass(frozen=True)
class Sources:
    """The files of the API that a version is made of."""

    training: ApiFile
    validation: ApiFile | None


def receive_file(
    team: Team,
    user: User | None,
    name: str,
    file: File[bytes],
    options: Options,
    dataset: Dataset | None = None,
    watch: PassRows = iter,
) -> Upload:
    """Check a file and create its upload.

    The bytes are stored only if the file may become usable.
    The rows pass through ``watch`` while they are checked.
    """
    filename = Path(file.name or "upload").name[:255]
    upload = Upload(
        team=team, created_by=user, name=name, dataset=dataset, filename=filename, bytes=file.size,
        options=options.as_json(),
    )  # fmt: skip
    try:
        kind = _detect_format(file, filename)
    except FileError as error:
        upload.report, upload.sha256 = build_refusal(error), ""
    else:
        earlier = _find_earlier_splits(dataset, options)
        upload.report = check_file(_rewind(file), kind, options, earlier, watch)
        upload.sha256 = _hash_file(file)
    return _save_upload(upload, file)


def _find_earlier_splits(dataset: Dataset | None, options: Options) -> dict[bytes, Split]:
    """Return the splits of prompts in the latest version, if the shares are the same.

    A large version needs none: it was split by the hash of its prompts alone.
    """
    version = dataset.versions.first() if dataset else None
    if version is None or version.rows > EARLIER_ROWS:
        return {}
    same = Options.from_json(version.report["options"]).shares == options.shares
    return split_files.read_prompt_splits(version) if same else {}


def _rewind(file: File[bytes]) -> IO[bytes]:
    """Return the open file inside Django's wrapper, at its start."""
    file.seek(0)
    return file.file or file


def _detect_format(file: File[bytes], filename: str) -> str:
    if file.size > settings.MAX_UPLOAD_BYTES:
        raise problems.too_large(file.size, settings.MAX_UPLOAD_BYTES)
    return formats.detect_format(_rewind(file).read(HEAD_BYTES), filename)


def _hash_file(file: File[bytes]) -> str:
    stream = _rewind(file)
    digest = hashlib.sha256()
    while chunk := stream.read(split_files.CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()


def _save_upload(upload: Upload, file: File[bytes]) -> Upload:
    """Save the upload, and its bytes if they may still become a version."""
    upload.state = _choose_state(upload.report)
    if upload.state == Upload.State.CHECKED:
        key = f"teams/{upload.team_id}/uploads/{upload.uid}"
        upload.file = default_storage.save(key, File(_rewind(file)))
    try:
        with transaction.atomic():
            upload.save()
            record_event(upload.team, upload.created_by, "uploaded file", upload.filename)
    except BaseException:
        _delete_bytes(upload)
        raise
    return upload


def _choose_state(report: UploadReport) -> Upload.State:
    hopeless = report["refused"] and not report["recheckable"]
    return Upload.State.REFUSED if hopeless else Upload.State.CHECKED


def _delete_bytes(upload: Upload) -> None:
    if upload.file:
        default_storage.delete(upload.file)


def find_errors(upload: Upload) -> Iterator[Problem]:
    """Yield every error of an upload.

    Without stored bytes these are the first ones, from its report.
    """
    if upload.state != Upload.State.CHECKED or upload.report["refused"]:
        yield from (Problem(**error) for error in upload.report["errors"])
        return
    options = Options.from_json(upload.options)
    with default_storage.open(upload.file) as file:
        for line, found in formats.read_rows(upload.report["format"], _rewind(file), options.columns):
            if isinstance(found, RowError):
                yield Problem.from_row_error(line, found)


def recheck_upload(upload: Upload, options: Options) -> None:
    """Check the stored bytes with other options. Raises CannotCommit if they are gone.

    A large file takes minutes, in which somebody else may commit the upload.
    """
    _require_checked(upload)
    earlier = _find_earlier_splits(upload.dataset, options)
    with _open_bytes(upload) as file, track_rows(upload) as progress:
        kind = _detect_format(file, upload.filename)
        upload.report = check_file(_rewind(file), kind, options, earlier, progress.count_checked)
    upload.options, upload.state = options.as_json(), _choose_state(upload.report)
    with transaction.atomic():
        _lock_checked(upload)
        upload.save(update_fields=["report", "options", "state"])
    if upload.state == Upload.State.REFUSED:
        _delete_bytes(upload)


def commit_upload(
    upload: Upload, user: User | None, choices: Choices, sources: Sources | None = None
) -> tuple[DatasetVersion, bool]:
    """Make an immutable version of an upload. Without ``sources`` its open splits become files of the API.

    Returns it, and False if the same rows were a version already.
    Raises CannotCommit, with nothing changed.
    """
    _require_usable(upload, choices)
    temporary = tempfile.TemporaryDirectory(dir=settings.FILE_UPLOAD_TEMP_DIR, prefix="version-")
    with temporary as folder, track_rows(upload) as progress:
        files, dropped = _write_splits(upload, choices, Path(folder), progress)
        if not files[Split.TRAIN].rows:
            raise CannotCommit("No row is left for training. Lower the held-out shares, or add rows.")
        report = _build_version_report(upload, choices, files, dropped)
        return _save_version(upload, user, files, report, sources)


def _require_checked(upload: Upload) -> None:
    if upload.state != Upload.State.CHECKED:
        raise CannotCommit("This upload was already committed or refused. Upload the file again.")


def _lock_checked(upload: Upload) -> None:
    """Lock the row. Raises CannotCommit if it was committed, refused or discarded meanwhile."""
    locked = Upload.objects.select_for_update().filter(pk=upload.pk).first()
    if locked is None:
        raise CannotCommit("This upload was discarded. Upload the file again.")
    _require_checked(locked)


def _open_bytes(upload: Upload) -> File[bytes]:
    try:
        return default_storage.open(upload.file)
    except FileNotFoundError as error:
        raise CannotCommit("The bytes of this upload are gone. Upload the file again.") from error


def _require_usable(upload: Upload, choices: Choices) -> None:
    _require_checked(upload)
    report = upload.report
    if report["refused"] or not report["rows"]:
        raise CannotCommit("No row of this file can be used. Correct the file and upload it again.")
    if report["bad"] and not choices.skip_bad:
        rows = "1 row has" if report["bad"] == 1 else f"{report['bad']:,} rows have"
        raise CannotCommit(f"{rows} errors. Correct the file and upload it again, or choose to skip them.")


def _write_splits(
    upload: Upload, choices: Choices, folder: Path, progress: RowProgress
) -> tuple[WrittenSplits, int]:
    """Write the split files. Returns them and the number of rows dropped because of overlap."""
    options, kind = Options.from_json(upload.options), upload.report["format"]
    earlier = _find_earlier_splits(upload.dataset, options)
    with _open_bytes(upload) as file, open_index(options.shares, earlier) as index:
        # Two passes: the splits of few prompts are final only after the last row.
        fill_index(index, Tally(), _rewind(file), kind, options, progress.count_checked)
        index.finish()
        dropped = index.drop_overlap() if choices.drop_overlap else 0
        rows = progress.count_written(read_kept_rows(_rewind(file), kind, options, index))
        return split_files.write_splits(rows, choose_column_types(upload.report["fields"]), folder), dropped


def _build_version_report(
    upload: Upload, choices: Choices, files: WrittenSplits, dropped: int
) -> VersionReport:
    """Keep of the upload's report what shows no row, since test rows are sealed from now on."""
    report = upload.report
    return {
        "format": report["format"],
        "bad": report["bad"],
        "duplicates": report["duplicates"],
        "stated": report["stated"],
        "counted": report["counted"],
        "overlap": report["overlap"],
        "prompt_characters": report["prompt_characters"],
        "messages": report["messages"],
        "fields": report["fields"],
        "left_out": report["left_out"],
        "splits": {split.label: file.rows for split, file in files.items()},
        "offsets": {split.label: file.offsets for split, file in files.items()},
        "columns": {
            split.label: histograms.build_histograms(file.columns, report["fields"])
            for split, file in files.items()
            if not split.sealed
        },
        "dropped": dropped,
        "drop_overlap": choices.drop_overlap,
        "options": upload.options,
    }


def _save_version(
    upload: Upload, user: User | None, files: WrittenSplits, report: VersionReport, sources: Sources | None
) -> tuple[DatasetVersion, bool]:
    with ExitStack() as undo:
        with transaction.atomic():
            _lock_checked(upload)
            dataset, sha256 = _lock_dataset(upload, user), split_files.hash_splits(files)
            version, new = dataset.versions.filter(sha256=sha256).first(), False
            if version is None:
                prefix = f"teams/{dataset.team_id}/datasets/{dataset.uid}/{sha256[:16]}"
                stored = split_files.store_splits(files, prefix)
                undo.callback(split_files.delete_splits, stored)
                version, new = _make_version(dataset, upload, user, stored, sha256, report, sources), True
            upload.dataset, upload.state = dataset, Upload.State.COMMITTED
            upload.report = _strip_rows(upload.report)
            upload.save(update_fields=["dataset", "state", "report"])
        undo.pop_all()  # committed: keep the stored files
    transaction.on_commit(partial(_delete_bytes, upload))
    return version, new


def _strip_rows(report: UploadReport) -> UploadReport:
    """Drop everything that shows rows, since test rows are sealed from now on."""
    return {
        "format": report["format"],
        "refused": report["refused"],
        "recheckable": report["recheckable"],
        "bad": report["bad"],
        "errors": report["errors"],
    }


def _lock_dataset(upload: Upload, user: User | None) -> Dataset:
    """Create or lock the dataset of the upload. The lock gives two commits two version numbers."""
    if upload.dataset_id is None:
        return Dataset.objects.create(team=upload.team, name=upload.name, created_by=user)
    dataset = Dataset.objects.select_for_update().get(pk=upload.dataset_id)
    if dataset.deleted_at:
        raise CannotCommit(f"{dataset.name} was deleted. Restore it, or upload the file as a new dataset.")
    return dataset


def _make_version(
    dataset: Dataset, upload: Upload, user: User | None,
    stored: dict[str, SplitFile], sha256: str, report: VersionReport, sources: Sources | None,
) -> DatasetVersion:  # fmt: skip
    number = (dataset.versions.aggregate(last=Max("number"))["last"] or 0) + 1
    version = DatasetVersion.objects.create(
        dataset=dataset, number=number, sha256=sha256, files=stored, report=report, created_by=user,
        rows=sum(file["rows"] for file in stored.values()), filename=upload.filename,
        training_file=sources.training if sources else None,
        validation_file=sources.validation if sources else None,
    )  # fmt: skip
    if sources is None:
        create_split_files(version)
    record_event(upload.team, user, "committed dataset version", version)
    return version


def discard_upload(upload: Upload, user: User | None) -> None:
    """Delete an upload and its bytes."""
    with transaction.atomic():
        if upload.state != Upload.State.COMMITTED:
            record_event(upload.team, user, "discarded upload", upload.filename)
        upload.delete()
    _delete_bytes(upload)


def discard_stale_uploads(hours: float = STALE_UPLOAD_HOURS) -> int:
    """Delete uploads that nobody committed in time. Returns their number. Celery beat calls it."""
    before = timezone.now() - timedelta(hours=hours)
    stale = list(Upload.objects.filter(created_at__lt=before).exclude(state=Upload.State.COMMITTED))
    for upload in stale:
        discard_upload(upload, None)
    return len(stale)
