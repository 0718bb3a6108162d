"""Resumable uploads: begin, add parts, finish, discard."""

from __future__ import annotations

import shutil
import tempfile
from datetime import timedelta
from functools import partial

from django.conf import settings
from django.core.cache import cache
from django.core.files import File
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import transaction
from django.utils import timezone

from webapp.datasets.content import problems
from webapp.datasets.content.limits import STALE_UPLOAD_HOURS
from webapp.datasets.models import Dataset, Transfer, Upload
from webapp.datasets.uploads import services
from webapp.datasets.uploads.row_progress import track_rows
from webapp.datasets.uploads.validation import Options
from webapp.teams.models import Team, User

PART_BYTES = 8 * 2**20
FINISHED_SECONDS = 60


class WrongOffset(ValueError):
    """The part does not start where the stored bytes end, at byte ``received``."""

    def __init__(self, received: int) -> None:
        super().__init__(f"The next part must start at byte {received}.")
        self.received = received


class PartTooLarge(ValueError):
    """The part is larger than parts may be, or than the rest of the file."""


def begin_transfer(
    team: Team,
    user: User,
    *,
    filename: str,
    size: int,
    name: str,
    options: Options,
    dataset: Dataset | None,
) -> Transfer:
    """Create a transfer without any byte. Raises FileError for a file that is too large."""
    if size > settings.MAX_UPLOAD_BYTES:
        raise problems.too_large(size, settings.MAX_UPLOAD_BYTES)
    return Transfer.objects.create(
        team=team, created_by=user, filename=filename[:255], bytes=size, name=name, dataset=dataset,
        options=options.as_json(),
    )  # fmt: skip


@transaction.atomic
def add_part(transfer: Transfer, offset: int, part: bytes) -> Transfer:
    """Store the next bytes. Raises WrongOffset or PartTooLarge, with nothing stored."""
    transfer = Transfer.objects.select_for_update().get(pk=transfer.pk)
    if offset != transfer.received:
        raise WrongOffset(transfer.received)
    if len(part) > min(PART_BYTES, transfer.bytes - transfer.received):
        raise PartTooLarge(f"A part has at most {PART_BYTES} bytes, and the file has {transfer.bytes}.")
    key = f"teams/{transfer.team_id}/transfers/{transfer.uid}/{offset:015}"
    transfer.parts.append(default_storage.save(key, ContentFile(part)))
    transfer.received += len(part)
    transfer.save(update_fields=["parts", "received", "touched_at"])
    return transfer


@transaction.atomic
def finish_transfer(transfer: Transfer, user: User) -> Upload:
    """Join the parts and check the file like any upload.

    Raises CannotCommit while bytes are missing.
    """
    transfer = Transfer.objects.select_for_update().get(pk=transfer.pk)
    if not transfer.is_complete:
        missing = transfer.bytes - transfer.received
        raise services.CannotCommit(f"{missing:,} bytes of {transfer.filename} are missing. Send the rest.")
    with tempfile.TemporaryFile(dir=settings.FILE_UPLOAD_TEMP_DIR) as whole:
        for key in transfer.parts:
            with default_storage.open(key) as part:
                shutil.copyfileobj(part, whole)
        whole.flush()
        file = File(whole, name=transfer.filename)
        options = Options.from_json(transfer.options)
        with track_rows(transfer) as progress:
            upload = services.receive_file(
                transfer.team, user, transfer.name, file, options, transfer.dataset, progress.count_checked
            )
    cache.set(_finished_key(transfer.uid, user), True, FINISHED_SECONDS)
    discard_transfer(transfer)
    return upload


def has_finished(uid: str, user: User) -> bool:
    """Return True if the transfer is gone because the user finished it within the last minute."""
    return bool(cache.get(_finished_key(uid, user)))


def _finished_key(uid: str, user: User) -> str:
    return f"finished-transfer:{user.pk}:{uid}"


def discard_transfer(transfer: Transfer) -> None:
    """Delete a transfer and its parts."""
    parts = list(transfer.parts)
    transfer.delete()
    transaction.on_commit(partial(_delete_parts, parts))


def _delete_parts(keys: list[str]) -> None:
    for key in keys:
        default_storage.delete(key)


def discard_stale_transfers(hours: float = STALE_UPLOAD_HOURS) -> int:
    """Delete transfers that received no part in time. Returns their number.

    Celery beat calls it.
    """
    stale = list(Transfer.objects.filter(touched_at__lt=timezone.now() - timedelta(hours=hours)))
    for transfer in stale:
        discard_transfer(transfer)
    return len(stale)
