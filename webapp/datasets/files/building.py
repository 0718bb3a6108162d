"""Make a dataset version of the files that a job of the API names."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from django.conf import settings
from django.core.files import File

from webapp.core.api.errors import ApiError
from webapp.core.fields import replace_nul
from webapp.datasets.content.rows import Split
from webapp.datasets.files.checking import describe_problem
from webapp.datasets.files.file_content import read_lines_of
from webapp.datasets.files.models import ApiFile, Purpose
from webapp.datasets.formats import ENDINGS
from webapp.datasets.models import DatasetVersion, Upload
from webapp.datasets.services import NAME_LENGTH
from webapp.datasets.uploads.services import (
    CannotCommit,
    Choices,
    Sources,
    commit_upload,
    discard_upload,
    receive_file,
)
from webapp.datasets.uploads.validation import Options
from webapp.teams.models import Team, User

TRAINING, VALIDATION = "training_file", "validation_file"
TEST_SHARE = 10  # percent of the prompts, held out for the comparison if there is no validation file
FEW_ROWS = (
    "Without validation_file, some rows are held out for the comparison after training; these are too few. "
    "Name a validation_file, or send at least 5 different prompts."
)


@dataclass(frozen=True)
class JoinedFile:
    """The rows of the training file, then those of the validation file from ``validation_from`` on."""

    stream: IO[bytes]
    validation_from: int | None

    def locate(self, line: int | None) -> tuple[str, int | None]:
        """Return the parameter and the line in its file that a line of the joined file came from."""
        if line is None or self.validation_from is None or line < self.validation_from:
            return TRAINING, line
        return VALIDATION, line - self.validation_from + 1


def require_purpose(sources: Sources) -> None:
    """Raise ApiError unless the files are for training."""
    for param, file in ((TRAINING, sources.training), (VALIDATION, sources.validation)):
        if file and file.purpose != Purpose.FINE_TUNE:
            message = f"{file.uid} has the purpose {file.purpose!r}. Upload it with the purpose 'fine-tune'."
            raise ApiError(message, param=param, code="invalid_value")


def find_version(team: Team, sources: Sources) -> DatasetVersion | None:
    """Return the version that these files name, or that was made of the same contents before."""
    training, validation = sources.training, sources.validation
    versions = DatasetVersion.objects.filter(dataset__team=team, dataset__deleted_at=None).order_by("pk")
    if training.version_id and training.split == Split.TRAIN.label and _completes(training, validation):
        return versions.filter(pk=training.version_id).first()
    same = versions.filter(training_file__sha256=training.sha256)
    same = (
        same.filter(validation_file__sha256=validation.sha256)
        if validation
        else same.filter(validation_file=None)
    )
    return same.first()


def _completes(training: ApiFile, validation: ApiFile | None) -> bool:
    """True if the validation file is missing or the validation split of the training file's version."""
    return validation is None or (validation.version_id, validation.split) == (
        training.version_id,
        Split.VALIDATION.label,
    )


def make_version(team: Team, user: User | None, sources: Sources, name: str) -> DatasetVersion:
    """Make a version in a dataset of its own. Raises ApiError, with nothing stored."""
    training = sources.training
    name = replace_nul(name).strip()[:NAME_LENGTH] or training.filename[:NAME_LENGTH]
    with _join_files(sources) as joined:
        options = Options(
            messages_column="messages",
            validation=0,
            test=TEST_SHARE,
            reads_split=False,
            validation_from=joined.validation_from,
        )
        file = File(joined.stream, _name_as_jsonl(training.filename))
        upload = receive_file(team, user, name, file, options)
        try:
            _require_good_rows(upload, joined)
            return _commit(upload, user, sources)
        except BaseException:
            discard_upload(upload, user)
            raise


def _name_as_jsonl(filename: str) -> str:
    """Return the name with an ending of JSON Lines, which tells the upload its format."""
    known = any(filename.lower().endswith(end) for end, kind in ENDINGS.items() if kind == "jsonl")
    return filename if known else f"{filename[:200]}.jsonl"


@contextmanager
def _join_files(sources: Sources) -> Iterator[JoinedFile]:
    """Copy both files into a temporary one."""
    with tempfile.TemporaryFile(dir=settings.FILE_UPLOAD_TEMP_DIR) as whole:
        lines = _copy_lines(sources.training, whole, TRAINING)
        if sources.validation:
            _copy_lines(sources.validation, whole, VALIDATION)
        whole.flush()
        yield JoinedFile(whole, lines + 1 if sources.validation else None)


def _copy_lines(file: ApiFile, whole: IO[bytes], param: str) -> int:
    count = 0
    try:
        for line in read_lines_of(file):
            whole.write(line)
            count += 1
    except FileNotFoundError as error:
        raise _refuse(param, f"The bytes of {file.uid} are gone. Upload the file again.") from error
    return count


def _require_good_rows(upload: Upload, joined: JoinedFile) -> None:
    report = upload.report
    if report["bad"] or report["refused"]:
        first = report["errors"][0]
        param, line = joined.locate(first["line"])
        raise _refuse(param, describe_problem(first["reason"], first["remedy"], line))
    if joined.validation_from is None and not report["splits"][Split.TEST.label]:
        raise _refuse(TRAINING, FEW_ROWS)


def _commit(upload: Upload, user: User | None, sources: Sources) -> DatasetVersion:
    try:
        return commit_upload(upload, user, Choices(), sources)[0]
    except CannotCommit as error:
        raise _refuse(TRAINING, str(error)) from error


def _refuse(param: str, message: str) -> ApiError:
    return ApiError(message, param=param, code="invalid_training_file")
