"""Imports of datasets: a user requests a file, a worker downloads it and checks it."""

from __future__ import annotations

from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from django.conf import settings
from django.core.files import File
from django.db import transaction
from django.utils import timezone

from webapp.core.fields import replace_nul
from webapp.datasets.models import Dataset, DatasetImport
from webapp.datasets.uploads import services
from webapp.datasets.uploads.row_progress import track_rows
from webapp.datasets.uploads.validation import Options
from webapp.teams.models import Team, User
from webapp.teams.services import record_event
from webapp.work.errors import LeaseLost
from webapp.work.queue import Queue

State = DatasetImport.State
WAITING = (State.QUEUED, State.RUNNING)
MOST_WAITING = 3  # imports of one team at a time
IMPORTS = Queue(
    DatasetImport,
    "imports",
    "import_dataset",
    "Check the worker's log, then try again.",
    related=("team", "created_by", "dataset"),
)


class ImportRefused(ValueError):
    """The import cannot start. The message gives the reason and the remedy."""


@transaction.atomic
def request_import(
    team: Team, user: User, *, source: str, name: str, options: Options, dataset: Dataset | None
) -> DatasetImport:
    """Queue an import. Raises ImportRefused."""
    if not settings.DATASET_IMPORTS:
        raise ImportRefused("Imports are disabled on this server. Download the file and upload it here.")
    Team.objects.select_for_update(no_key=True).get(pk=team.pk)
    if team.imports.filter(state__in=WAITING).count() >= MOST_WAITING:
        raise ImportRefused(f"{MOST_WAITING} imports are running. Wait for one to finish, or cancel it.")
    found = DatasetImport.objects.create(
        team=team, created_by=user, source=source, name=name, options=options.as_json(), dataset=dataset
    )
    record_event(team, user, "started import", source)
    IMPORTS.notify(found.pk)
    return found


def finish_import(found: DatasetImport, file: BinaryIO, url: str, received: int) -> None:
    """Check the downloaded file like any upload. Raises LeaseLost, with the upload discarded."""
    IMPORTS.renew(found, received=received)
    name = read_filename(url)
    with track_rows(found) as progress:
        upload = services.receive_file(
            found.team, found.created_by, found.name or name.rsplit(".", 1)[0][:120] or "Dataset",
            File(file, name=name), Options.from_json(found.options), found.dataset, progress.count_checked,
        )  # fmt: skip
    if not IMPORTS.finish(found, upload=upload):
        services.discard_upload(upload, None)
        raise LeaseLost(str(found))


def read_filename(url: str) -> str:
    """Return the last part of a URL's path, or a default name."""
    last = unquote(urlsplit(url).path.rstrip("/").rpartition("/")[2])
    return replace_nul(last).replace("/", "_")[:255] or "import"


@transaction.atomic
def cancel_import(found: DatasetImport, user: User) -> None:
    """Cancel an unfinished import. Its worker notices when it next renews the lease."""
    changed = DatasetImport.objects.filter(pk=found.pk, state__in=WAITING).update(
        state=State.FAILED,
        error={"message": "The import was cancelled.", "remedy": "Start it again if you need the file."},
        lease_until=None,
        finished_at=timezone.now(),
    )
    if changed:
        record_event(found.team, user, "cancelled import", found.source)
