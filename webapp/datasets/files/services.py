"""Files of the API: store, find, use, delete."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import IO

from django.conf import settings
from django.core.files import File
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from webapp.core.api.errors import ApiError, NotFound
from webapp.datasets.files import building
from webapp.datasets.files.checking import check_content
from webapp.datasets.files.file_content import CHUNK_BYTES
from webapp.datasets.files.models import ApiFile, Purpose
from webapp.datasets.models import DatasetVersion
from webapp.datasets.uploads.services import Sources
from webapp.teams.models import Team, User
from webapp.teams.services import record_event

NAME_LENGTH = 255
DELETED_KEPT = timedelta(hours=1)  # a job that was just created may still read the file


def create_file(
    team: Team,
    user: User | None,
    filename: str,
    purpose: str,
    file: File[bytes],
    lifetime: int | None = None,
    most: int | None = None,
) -> ApiFile:
    """Check and store a file. It is removed after ``lifetime`` seconds, if any are given.

    Raises ApiError for one of more than ``most`` bytes (``MAX_API_FILE_BYTES``) or with wrong content.
    """
    most = settings.MAX_API_FILE_BYTES if most is None else most
    if file.size > most:
        message = f"The file has {file.size:,} bytes; at most {most:,} are allowed. Use the Uploads API."
        raise ApiError(message, status=413, param="file")
    stream = file.file or file
    rows = check_content(stream, purpose)
    found = ApiFile(
        team=team,
        created_by=user,
        filename=clean_name(filename),
        purpose=purpose,
        bytes=file.size,
        sha256=_hash_content(stream),
        rows=rows,
        expires_at=timezone.now() + timedelta(seconds=lifetime) if lifetime else None,
    )
    return _store_bytes(found, file)


def clean_name(filename: str) -> str:
    """Return a file name without line breaks and other control characters, which no header can hold."""
    return "".join(filter(str.isprintable, filename)).strip()[:NAME_LENGTH] or "file"


def _hash_content(stream: IO[bytes]) -> str:
    stream.seek(0)
    digest = hashlib.sha256()
    while chunk := stream.read(CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()


def _store_bytes(found: ApiFile, file: File[bytes]) -> ApiFile:
    """Store the bytes, then the row: a file that can be named is complete."""
    file.seek(0)
    found.key = default_storage.save(f"teams/{found.team_id}/files/{found.uid}", file)
    try:
        with transaction.atomic():
            found.save()
            record_event(found.team, found.created_by, "uploaded file", found)
    except BaseException:
        default_storage.delete(found.key)
        raise
    return found


def store_result(team: Team, name: str, content: bytes, purpose: str = Purpose.RESULTS) -> ApiFile:
    """Store a file that a job made."""
    return create_file(team, None, name, purpose, ContentFile(content, name))


def select_files(team: Team, purpose: str | None = None) -> QuerySet[ApiFile]:
    """Return the files that a team's keys see."""
    files: QuerySet[ApiFile] = ApiFile.objects.available().filter(team=team)
    return files.filter(purpose=purpose) if purpose else files


def find_file(team: Team, uid: str) -> ApiFile:
    """Return a team's file. Raises NotFound."""
    found = select_files(team).select_related("version__dataset__team").filter(uid=uid).first()
    if found is None:
        raise NotFound(f"No such File object: {uid}")
    return found


def find_version(team: Team, training: ApiFile, validation: ApiFile | None) -> DatasetVersion | None:
    """Return the version that was made of these files. Raises ApiError for files of another purpose."""
    sources = Sources(training, validation)
    building.require_purpose(sources)
    return building.find_version(team, sources)


def build_version(
    team: Team, user: User | None, training: ApiFile, validation: ApiFile | None, name: str
) -> DatasetVersion:
    """Return the version whose splits are these files. The same contents give the same version.

    It is made, and checked, by the service that makes versions of page uploads, as the first version of a
    dataset called ``name``. All rows of the training file are in the training split, all of the validation
    file in the validation split, and none in the test split: as for every version without test rows, a job
    then compares base and tuned model on the validation rows. Without a validation file there is no
    validation split, and 10 % of the prompts are held out as the sealed test split, because a job without
    held-out rows cannot measure anything. A field ``split`` has no meaning here.

    Files that are the splits of a version give that very version, with its test split.

    Raises ApiError ``invalid_training_file`` with the first wrong line; nothing is stored then.
    """
    sources = Sources(training, validation)
    building.require_purpose(sources)
    with transaction.atomic():
        # The lock makes two jobs at once share one version.
        ApiFile.objects.select_for_update(of=("self",), no_key=True).get(pk=training.pk)
        return building.find_version(team, sources) or building.make_version(team, user, sources, name)


@transaction.atomic
def delete_file(file: ApiFile, user: User | None) -> None:
    """Remove a file from the API. A dataset version made of it, or named by it, stays."""
    if file.mark_deleted():
        record_event(file.team, user, "deleted file", file)


def delete_removed_bytes() -> int:
    """Delete the bytes of files that expired or were deleted. Returns their number.

    Celery beat calls it.
    """
    now = timezone.now()
    removed = ApiFile.objects.exclude(key="").filter(
        Q(expires_at__lt=now) | Q(deleted_at__lt=now - DELETED_KEPT)
    )
    count = 0
    for file in removed.iterator():
        default_storage.delete(file.key)
        count += ApiFile.objects.filter(pk=file.pk).update(key="")
    return count
