"""The life of an import: asked for, claimed by one worker, checked as an upload when the file is here."""

from __future__ import annotations

from datetime import timedelta
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from django.conf import settings
from django.core.files import File
from django.db import transaction
from django.utils import timezone

from webapp.jobs import bell
from webapp.teams.models import Team, User
from webapp.teams.services import record

from . import services
from .checking import Options
from .models import Dataset, DatasetImport
from .row_progress import track_rows

State = DatasetImport.State
WAITING = (State.QUEUED, State.RUNNING)
MOST_WAITING = 3  # imports of one team at a time
MOST_ATTEMPTS = 3
LEASE = timedelta(seconds=60)
CHECK_LEASE = timedelta(minutes=30)  # nothing renews it while a file is checked


class ImportRefused(ValueError):
    """The import cannot be asked for; the message says why and what to do."""


class LeaseLost(Exception):
    """Another attempt has this import, or it was cancelled."""


@transaction.atomic
def request_import(
    team: Team, user: User, *, source: str, name: str, options: Options, dataset: Dataset | None
) -> DatasetImport:
    """Queue an import. Raises ImportRefused."""
    if not settings.DATASET_IMPORTS:
        raise ImportRefused("Imports are switched off on this server. Download the file and upload it here.")
    Team.objects.select_for_update(no_key=True).get(pk=team.pk)
    if team.imports.filter(state__in=WAITING).count() >= MOST_WAITING:
        raise ImportRefused(f"{MOST_WAITING} imports are under way. Wait for one to end, or cancel it.")
    found = DatasetImport.objects.create(
        team=team, created_by=user, source=source, name=name, options=options.as_json(), dataset=dataset
    )
    record(team, user, "started import", source)
    bell.ring("import_dataset", found.pk)
    return found


def claim(import_id: int) -> DatasetImport | None:
    """Take a queued import for one attempt; None if it is not waiting any more."""
    with transaction.atomic():
        found = DatasetImport.objects.select_for_update(of=("self",)).filter(pk=import_id, state=State.QUEUED)
        taken = found.select_related("team", "created_by", "dataset").first()
        if taken is None:
            return None
        taken.state, taken.attempt, taken.received = State.RUNNING, taken.attempt + 1, 0
        taken.lease_until = timezone.now() + LEASE
        taken.save(update_fields=["state", "attempt", "received", "lease_until"])
    return taken


def renew(found: DatasetImport, received: int, lease: timedelta = LEASE) -> None:
    """Store the progress and keep the lease. Raises LeaseLost."""
    _update(found, received=received, lease_until=timezone.now() + lease)


def _update(found: DatasetImport, **values: object) -> None:
    mine = DatasetImport.objects.filter(pk=found.pk, attempt=found.attempt, state=State.RUNNING)
    if not mine.update(**values):
        raise LeaseLost


def fail(found: DatasetImport, message: str, remedy: str) -> None:
    """End the attempt's import with an error, unless another attempt has it."""
    DatasetImport.objects.filter(pk=found.pk, attempt=found.attempt, state=State.RUNNING).update(
        state=State.FAILED, error={"message": message, "remedy": remedy}, lease_until=None
    )


def finish(found: DatasetImport, file: BinaryIO, url: str, received: int) -> None:
    """Check the downloaded file as any upload. Raises LeaseLost, with no upload kept."""
    renew(found, received, CHECK_LEASE)
    name = filename_of(url)
    with track_rows(found) as progress:
        upload = services.receive(
            found.team, found.created_by, found.name or name.rsplit(".", 1)[0][:120] or "Dataset",
            File(file, name=name), Options(**found.options), found.dataset, progress.checked,
        )  # fmt: skip
    try:
        _update(found, state=State.DONE, upload=upload, lease_until=None)
    except LeaseLost:
        services.discard_upload(upload, None)
        raise


def filename_of(url: str) -> str:
    """The last part of a URL's path."""
    return unquote(urlsplit(url).path.rstrip("/").rpartition("/")[2]).replace("/", "_")[:255] or "import"


@transaction.atomic
def cancel(found: DatasetImport, user: User) -> None:
    """End a waiting import; its worker notices at its next sign of life."""
    changed = DatasetImport.objects.filter(pk=found.pk, state__in=WAITING).update(
        state=State.FAILED,
        error={"message": "The import was cancelled.", "remedy": "Start it again if you need the file."},
    )
    if changed:
        record(found.team, user, "cancelled import", found.source)


def requeue_silent() -> None:
    """Queue imports of silent workers again, a few times, and notify workers of all. Beat calls it."""
    silent = DatasetImport.objects.filter(state=State.RUNNING, lease_until__lt=timezone.now())
    silent.filter(attempt__gte=MOST_ATTEMPTS).update(
        state=State.FAILED,
        error={
            "message": "Its worker stopped several times.",
            "remedy": "Look at the worker's log, then try again.",
        },
    )
    silent.update(state=State.QUEUED)
    for found in DatasetImport.objects.filter(state=State.QUEUED):
        bell.ring("import_dataset", found.pk)
