"""Datasets: take a file in, check it, make a version of it, put it away."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import IO, Any

from django.conf import settings
from django.core.files import File
from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from webapp.core.fields import storable
from webapp.datasets import formats
from webapp.datasets.content import problems
from webapp.datasets.content.limits import EARLIER_ROWS, STALE_UPLOAD_HOURS
from webapp.datasets.content.problems import FileError, Problem, RowError
from webapp.datasets.content.rows import Split
from webapp.datasets.models import Dataset, DatasetVersion, Upload
from webapp.datasets.uploads.row_progress import RowProgress, track_rows
from webapp.datasets.uploads.validation import Options, Tally, Watch, check, fill, placed, refused
from webapp.datasets.versions import histograms, split_files
from webapp.datasets.versions.columns import kinds_of
from webapp.datasets.versions.split_files import Files
from webapp.datasets.versions.splits import open_index
from webapp.teams.models import Team, User
from webapp.teams.services import record

HEAD_BYTES = 4096
NAME_LENGTH = 120
REPORT_KEPT = {
    "format",
    "bad",
    "duplicates",
    "stated",
    "counted",
    "overlap",
    "prompt_characters",
    "messages",
    "fields",
}
# The rest would show rows that are sealed from now on.
COMMITTED_KEPT = {"format", "refused", "recheckable", "bad", "errors"}


class CannotCommit(ValueError):
    """The upload cannot become a version as things stand; the message says why and what to do."""


@dataclass(frozen=True)
class Choices:
    """What the uploader decided on the report."""

    skip_bad: bool = False
    drop_overlap: bool = False


def receive(
    team: Team,
    user: User | None,
    name: str,
    file: File[bytes],
    options: Options,
    dataset: Dataset | None = None,
    watch: Watch = iter,
) -> Upload:
    """Check a file and keep it on trial. A file that cannot be used is not kept; its report is.

    ``watch`` sees the rows pass while they are checked.
    """
    filename = Path(file.name or "upload").name[:255]
    upload = Upload(
        team=team, created_by=user, name=name, dataset=dataset, filename=filename, bytes=file.size,
        options=options.as_json(),
    )  # fmt: skip
    try:
        kind = _kind(file, filename)
    except FileError as error:
        upload.report, upload.sha256 = refused(error), ""
    else:
        upload.report = check(_plain(file), kind, options, _earlier_splits(dataset, options), watch)
        upload.sha256 = _sha256(file)
    return _keep(upload, file)


def _earlier_splits(dataset: Dataset | None, options: Options) -> dict[bytes, Split]:
    """The splits that prompts have in the dataset's latest version, if it was split by the same shares.

    They matter where shares were counted out; in a large version the hash alone has decided.
    """
    version = dataset.versions.first() if dataset else None
    if version is None or version.rows > EARLIER_ROWS:
        return {}
    same = Options(**version.report["options"]).shares == options.shares
    return split_files.prompt_splits(version) if same else {}


def _plain(file: File[bytes]) -> IO[bytes]:
    """The open file below Django's wrapper, from its start."""
    file.seek(0)
    return file.file or file


def _kind(file: File[bytes], filename: str) -> str:
    if file.size > settings.MAX_UPLOAD_BYTES:
        raise problems.too_large(file.size, settings.MAX_UPLOAD_BYTES)
    return formats.detect(_plain(file).read(HEAD_BYTES), filename)


def _sha256(file: File[bytes]) -> str:
    stream = _plain(file)
    digest = hashlib.sha256()
    while chunk := stream.read(split_files.CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()


def _keep(upload: Upload, file: File[bytes]) -> Upload:
    """Store the upload's row, and its bytes if they may still become a version."""
    upload.state = _state(upload.report)
    if upload.state == Upload.State.CHECKED:
        file.seek(0)
        upload.file = default_storage.save(f"teams/{upload.team_id}/uploads/{upload.uid}", File(_plain(file)))
    try:
        with transaction.atomic():
            upload.save()
            record(upload.team, upload.created_by, "uploaded file", upload.filename)
    except BaseException:
        _remove_bytes(upload)
        raise
    return upload


def _state(report: dict[str, Any]) -> Upload.State:
    hopeless = report["refused"] and not report["recheckable"]
    return Upload.State.REFUSED if hopeless else Upload.State.CHECKED


def _remove_bytes(upload: Upload) -> None:
    if upload.file:
        default_storage.delete(upload.file)


def find_errors(upload: Upload) -> Iterator[Problem]:
    """Every error of an upload: read anew while its bytes are kept, else those in its report."""
    if upload.state != Upload.State.CHECKED or upload.report["refused"]:
        yield from (Problem(**error) for error in upload.report["errors"])
        return
    options = Options(**upload.options)
    with default_storage.open(upload.file) as file:
        for line, found in formats.read(upload.report["format"], _plain(file), options.columns):
            if isinstance(found, RowError):
                yield Problem.of_row(line, found)


def check_again(upload: Upload, options: Options) -> None:
    """Check the kept bytes with other options. Raises CannotCommit if they are gone."""
    _require_checked(upload)
    earlier = _earlier_splits(upload.dataset, options)
    with default_storage.open(upload.file) as file, track_rows(upload) as progress:
        kind = _kind(file, upload.filename)
        upload.report = check(_plain(file), kind, options, earlier, progress.checked)
    upload.options, upload.state = options.as_json(), _state(upload.report)
    upload.save(update_fields=["report", "options", "state"])
    if upload.state == Upload.State.REFUSED:
        _remove_bytes(upload)


def commit(upload: Upload, user: User | None, choices: Choices) -> tuple[DatasetVersion, bool]:
    """The immutable version made of an upload, and whether it is new (the same rows give the same version).

    Raises CannotCommit, with nothing changed.
    """
    _require_usable(upload, choices)
    temporary = tempfile.TemporaryDirectory(dir=settings.FILE_UPLOAD_TEMP_DIR, prefix="version-")
    with temporary as folder, track_rows(upload) as progress:
        files, dropped = _write(upload, choices, Path(folder), progress)
        if not files[Split.TRAIN].rows:
            raise CannotCommit("No row would be left to train on. Lower the held-out shares, or add rows.")
        return _commit(upload, user, files, _version_report(upload, choices, files, dropped))


def _require_checked(upload: Upload) -> None:
    if upload.state != Upload.State.CHECKED:
        raise CannotCommit("This upload is no longer on trial. Upload the file again.")


def _require_usable(upload: Upload, choices: Choices) -> None:
    _require_checked(upload)
    report = upload.report
    if report["refused"] or not report["rows"]:
        raise CannotCommit("No row of this file can be used. Fix the file and upload it again.")
    if report["bad"] and not choices.skip_bad:
        rows = "1 row has" if report["bad"] == 1 else f"{report['bad']:,} rows have"
        raise CannotCommit(f"{rows} errors. Fix the file and upload it again, or choose to skip them.")


def _write(upload: Upload, choices: Choices, folder: Path, progress: RowProgress) -> tuple[Files, int]:
    options, kind = Options(**upload.options), upload.report["format"]
    earlier = _earlier_splits(upload.dataset, options)
    with default_storage.open(upload.file) as file, open_index(options.shares, earlier) as index:
        fill(index, Tally(), _plain(file), kind, options, progress.checked)
        index.settle()
        dropped = index.drop_overlap() if choices.drop_overlap else 0
        rows = progress.written(placed(_plain(file), kind, options, index))
        return split_files.write(rows, kinds_of(upload.report["fields"]), folder), dropped


def _version_report(upload: Upload, choices: Choices, files: Files, dropped: int) -> dict[str, Any]:
    return {key: upload.report[key] for key in REPORT_KEPT} | {
        "splits": {split.label: file.rows for split, file in files.items()},
        "offsets": {split.label: file.offsets for split, file in files.items()},
        "columns": {
            split.label: histograms.of_file(file.columns, upload.report["fields"])
            for split, file in files.items()
            if not split.sealed
        },
        "dropped": dropped,
        "drop_overlap": choices.drop_overlap,
        "options": upload.options,
    }


def _commit(
    upload: Upload, user: User | None, files: Files, report: dict[str, Any]
) -> tuple[DatasetVersion, bool]:
    with ExitStack() as undo:
        with transaction.atomic():
            _require_checked(Upload.objects.select_for_update().get(pk=upload.pk))
            dataset, sha256 = _dataset(upload, user), split_files.fingerprint(files)
            version, new = dataset.versions.filter(sha256=sha256).first(), False
            if version is None:
                stored = _store(dataset, files, undo)
                version, new = _make_version(dataset, upload, user, stored, sha256, report), True
            upload.dataset, upload.state = dataset, Upload.State.COMMITTED
            upload.report = {key: upload.report[key] for key in COMMITTED_KEPT}
            upload.save(update_fields=["dataset", "state", "report"])
        undo.pop_all()
    transaction.on_commit(partial(_remove_bytes, upload))
    return version, new


def _dataset(upload: Upload, user: User | None) -> Dataset:
    """The dataset that the upload is for, locked so that two commits get two numbers."""
    if upload.dataset_id is None:
        return Dataset.objects.create(team=upload.team, name=upload.name, created_by=user)
    dataset = Dataset.objects.select_for_update().get(pk=upload.dataset_id)
    if dataset.deleted_at:
        raise CannotCommit(f"{dataset.name} was deleted. Restore it, or upload the file as a new dataset.")
    return dataset


def _store(dataset: Dataset, files: Files, undo: ExitStack) -> dict[str, dict[str, Any]]:
    """The files in storage, to be removed again if the transaction fails."""
    prefix = f"teams/{dataset.team_id}/datasets/{dataset.uid}/{split_files.fingerprint(files)[:16]}"
    stored = split_files.store(files, prefix)
    undo.callback(split_files.discard, stored)
    return stored


def _make_version(
    dataset: Dataset, upload: Upload, user: User | None,
    stored: dict[str, dict[str, Any]], sha256: str, report: dict[str, Any],
) -> DatasetVersion:  # fmt: skip
    number = (dataset.versions.aggregate(last=Max("number"))["last"] or 0) + 1
    version = DatasetVersion.objects.create(
        dataset=dataset, number=number, sha256=sha256, files=stored, report=report, created_by=user,
        rows=sum(file["rows"] for file in stored.values()), filename=upload.filename,
    )  # fmt: skip
    record(upload.team, user, "committed dataset version", version)
    return version


@transaction.atomic
def rename_dataset(dataset: Dataset, user: User, name: str) -> None:
    """Give a dataset another name. Raises ValueError with what to change."""
    name = storable(name).strip()
    if not 0 < len(name) <= NAME_LENGTH:
        raise ValueError(f"A dataset's name has 1 to {NAME_LENGTH} characters.")
    record(dataset.team, user, "renamed dataset", f"{dataset.name} to {name}")
    Dataset.objects.filter(pk=dataset.pk).update(name=name)


@transaction.atomic
def delete_dataset(dataset: Dataset, user: User) -> None:
    """Hide a dataset. Its files stay, so jobs that use them go on and it can be restored."""
    if dataset.mark_deleted():
        record(dataset.team, user, "deleted dataset", dataset)


@transaction.atomic
def restore_dataset(dataset: Dataset, user: User) -> None:
    """Show a deleted dataset again."""
    if dataset.mark_restored():
        record(dataset.team, user, "restored dataset", dataset)


def discard_upload(upload: Upload, user: User | None) -> None:
    """Delete an upload on trial with its bytes."""
    with transaction.atomic():
        if upload.state != Upload.State.COMMITTED:
            record(upload.team, user, "discarded upload", upload.filename)
        upload.delete()
    _remove_bytes(upload)


def discard_stale_uploads(hours: float = STALE_UPLOAD_HOURS) -> int:
    """Delete uploads that nobody committed in time and return their number. Beat calls it."""
    before = timezone.now() - timedelta(hours=hours)
    stale = list(Upload.objects.filter(created_at__lt=before).exclude(state=Upload.State.COMMITTED))
    for upload in stale:
        discard_upload(upload, None)
    return len(stale)
