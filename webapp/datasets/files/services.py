"""Files of the API: store, find, read, delete."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
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
from webapp.core.fields import replace_nul
from webapp.datasets.content.problems import RowError
from webapp.datasets.files.checking import check_content
from webapp.datasets.files.models import ApiFile, Purpose
from webapp.datasets.files.version_files import read_split_lines
from webapp.datasets.formats.lines import read_lines
from webapp.teams.models import Team, User
from webapp.teams.services import record_event

CHUNK_BYTES = 2**18
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
        filename=replace_nul(filename)[:NAME_LENGTH] or "file",
        purpose=purpose,
        bytes=file.size,
        sha256=_hash_content(stream),
        rows=rows,
        expires_at=timezone.now() + timedelta(seconds=lifetime) if lifetime else None,
    )
    return _store_bytes(found, file)


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


def read_lines_of(file: ApiFile) -> Iterator[bytes]:
    """Yield the lines of a file for training. Raises FileNotFoundError if its bytes are gone."""
    if file.version:
        yield from read_split_lines(file)
        return
    with default_storage.open(file.key) as stored:
        for _, text in read_lines(stored):
            assert not isinstance(text, RowError), f"{file.uid} was checked when it was stored"
            yield text.rstrip("\r\n").encode() + b"\n"


def read_chunks(file: ApiFile) -> Iterator[bytes]:
    """Yield the content of a file, at most about ``CHUNK_BYTES`` and a line at once."""
    if not file.version:
        with default_storage.open(file.key) as stored:
            yield from iter(lambda: stored.read(CHUNK_BYTES), b"")
        return
    chunk = bytearray()
    for line in read_split_lines(file):
        chunk += line
        if len(chunk) >= CHUNK_BYTES:
            yield bytes(chunk)
            chunk.clear()
    yield bytes(chunk)


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
