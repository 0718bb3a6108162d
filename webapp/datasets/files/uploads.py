"""Uploads of the API: a large file in parts that may arrive at once and in any order."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Sequence
from datetime import timedelta
from functools import partial
from typing import IO

from django.conf import settings
from django.core.files import File
from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import Sum
from django.utils import timezone

from webapp.core.api.errors import ApiError, NotFound
from webapp.datasets.files import services
from webapp.datasets.files.file_content import CHUNK_BYTES
from webapp.datasets.files.models import ApiPart, ApiUpload
from webapp.teams.models import Team, User

MAX_PART_BYTES = 64 * 2**20
UPLOAD_KEPT = timedelta(hours=1)
SPARE_PARTS = 2  # times the announced bytes: a caller may send a part again after a broken connection
Status = ApiUpload.Status


def create_upload(
    team: Team,
    user: User | None,
    *,
    filename: str,
    purpose: str,
    mime_type: str,
    size: int,
    lifetime: int | None,
) -> ApiUpload:
    """Announce a file of ``size`` bytes. Raises ApiError for one that is too large."""
    if size > settings.MAX_UPLOAD_BYTES:
        message = f"The file may have at most {settings.MAX_UPLOAD_BYTES:,} bytes."
        raise ApiError(message, param="bytes", code="invalid_value")
    return ApiUpload.objects.create(
        team=team,
        created_by=user,
        filename=services.clean_name(filename),
        purpose=purpose,
        mime_type=mime_type,
        bytes=size,
        lifetime=lifetime,
        expires_at=timezone.now() + UPLOAD_KEPT,
    )


def find_upload(team: Team, uid: str) -> ApiUpload:
    """Return a team's upload. Raises NotFound."""
    found = ApiUpload.objects.select_related("team", "file").filter(team=team, uid=uid).first()
    if found is None:
        raise NotFound(f"No such Upload object: {uid}")
    return found


def add_part(upload: ApiUpload, file: File[bytes]) -> ApiPart:
    """Store a part. Raises ApiError, with nothing stored."""
    _require_pending(upload)
    if file.size > MAX_PART_BYTES:
        message = f"The part has {file.size:,} bytes; at most {MAX_PART_BYTES:,} are allowed."
        raise ApiError(message, status=413, param="data")
    if _sum_bytes(upload) + file.size > SPARE_PARTS * upload.bytes:
        message = f"The upload announced {upload.bytes:,} bytes; its parts have far more. Start another one."
        raise ApiError(message, param="data", code="invalid_value")
    part = ApiPart(upload=upload, bytes=file.size)
    file.seek(0)
    part.key = default_storage.save(f"teams/{upload.team_id}/parts/{upload.uid}/{part.uid}", file)
    try:
        part.save()
    except BaseException:
        default_storage.delete(part.key)
        raise
    return part


def _sum_bytes(upload: ApiUpload) -> int:
    return upload.parts.aggregate(total=Sum("bytes"))["total"] or 0


@transaction.atomic
def complete_upload(
    upload: ApiUpload, user: User | None, part_ids: Sequence[str], md5: str | None
) -> ApiUpload:
    """Join the parts in this order into a file. Raises ApiError; the upload then stays pending."""
    upload = _lock(upload)
    parts = _select_parts(upload, part_ids)
    with tempfile.TemporaryFile(dir=settings.FILE_UPLOAD_TEMP_DIR) as whole:
        found = _join_parts(parts, whole)
        if md5 and md5.strip().lower() != found:
            raise ApiError(f"The parts have the MD5 {found}.", param="md5", code="invalid_value")
        upload.file = services.create_file(
            upload.team, user, upload.filename, upload.purpose, File(whole, upload.filename),
            upload.lifetime, settings.MAX_UPLOAD_BYTES,
        )  # fmt: skip
    return _end_upload(upload, Status.COMPLETED)


def _lock(upload: ApiUpload) -> ApiUpload:
    """Lock a pending upload: of two requests to end it the second one fails."""
    uploads = ApiUpload.objects.select_related("team")
    locked = uploads.select_for_update(of=("self",), no_key=True).get(pk=upload.pk)
    _require_pending(locked)
    return locked


def _require_pending(upload: ApiUpload) -> None:
    status = Status.EXPIRED if upload.has_expired else upload.status
    if status != Status.PENDING:
        raise ApiError(f"This upload is {status}. Start another one.", code="invalid_value")


def _select_parts(upload: ApiUpload, part_ids: Sequence[str]) -> list[ApiPart]:
    """Return the parts in the caller's order. Raises ApiError unless they make up the whole file."""
    found = {part.uid: part for part in upload.parts.filter(uid__in=part_ids)}
    if unknown := next((uid for uid in part_ids if uid not in found), None):
        raise ApiError(f"This upload has no part {unknown!r}.", param="part_ids", code="invalid_value")
    if len(found) < len(part_ids):
        raise ApiError("A part is named twice.", param="part_ids", code="invalid_value")
    size = sum(part.bytes for part in found.values())
    if size != upload.bytes:
        message = f"The parts have {size:,} bytes; the upload announced {upload.bytes:,}."
        raise ApiError(message, param="part_ids", code="invalid_value")
    return [found[uid] for uid in part_ids]


def _join_parts(parts: Iterable[ApiPart], whole: IO[bytes]) -> str:
    """Write the parts one after another. Returns the MD5 of all bytes."""
    digest = hashlib.md5(usedforsecurity=False)
    for part in parts:
        with default_storage.open(part.key) as stored:
            while chunk := stored.read(CHUNK_BYTES):
                digest.update(chunk)
                whole.write(chunk)
    whole.flush()
    return digest.hexdigest()


@transaction.atomic
def cancel_upload(upload: ApiUpload) -> ApiUpload:
    """Give up an upload. Raises ApiError unless it is pending."""
    return _end_upload(_lock(upload), Status.CANCELLED)


def _end_upload(upload: ApiUpload, status: ApiUpload.Status) -> ApiUpload:
    upload.status = status
    upload.save(update_fields=["status", "file"])
    keys = list(upload.parts.values_list("key", flat=True))
    upload.parts.all().delete()
    transaction.on_commit(partial(_delete_bytes, keys))
    return upload


def _delete_bytes(keys: Iterable[str]) -> None:
    for key in keys:
        default_storage.delete(key)


def expire_uploads() -> int:
    """End uploads that nobody completed in time, and delete parts without a pending upload.

    Returns the number of these uploads. Celery beat calls it.
    """
    late = ApiUpload.objects.filter(status=Status.PENDING, expires_at__lt=timezone.now())
    expired = late.update(status=Status.EXPIRED)
    for part in ApiPart.objects.exclude(upload__status=Status.PENDING).iterator():
        default_storage.delete(part.key)
        part.delete()
    return expired
