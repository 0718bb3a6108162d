"""Connect to another service, and request the import of what was chosen there."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import transaction
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from webapp.remote_imports import keys
from webapp.remote_imports.client import REMOTE_ID, Content, Remote
from webapp.remote_imports.models import RemoteImport
from webapp.teams.models import Team, User
from webapp.teams.services import record_event
from webapp.work.models import WorkState
from webapp.work.queue import Queue

MOST_ITEMS = 100
REMOTE_IMPORTS = Queue(
    RemoteImport,
    "remote_imports",
    "run_remote_import",
    "Connect again, and import what is missing.",
    related=("team", "created_by"),
)
KEY_GONE = "The key was kept for ten minutes and is gone. Connect again."


class ImportRefused(ValueError):
    """The import cannot start. The message says why."""


@sensitive_variables("key")
def connect(team: Team, user: User, base_url: str, key: str) -> tuple[Content, str]:
    """List what the key reads, and keep it for ten minutes. Returns the list and the key's ticket.

    Raises RemoteError.
    """
    content = Remote(base_url, key).list_content()
    record_event(team, user, "listed files and jobs at", base_url)
    return content, keys.keep(team, base_url, key)


@transaction.atomic
def request_import(
    team: Team, user: User, ticket: str, *, files: Sequence[str], jobs: Sequence[str]
) -> RemoteImport:
    """Queue the import of files and jobs by their ids at the service. Raises ImportRefused."""
    if not files and not jobs:
        raise ImportRefused("Choose at least one file or job.")
    if len(files) + len(jobs) > MOST_ITEMS:
        raise ImportRefused(f"Choose up to {MOST_ITEMS} files and jobs at a time.")
    if not all(REMOTE_ID.fullmatch(each) for each in (*files, *jobs)):
        raise ImportRefused("One of the ids cannot be used.")
    remote = keys.find_remote(team, ticket)
    if remote is None:
        raise ImportRefused(KEY_GONE)
    keys.extend(team, ticket)
    found = RemoteImport.objects.create(
        team=team,
        created_by=user,
        base_url=remote.base_url,
        ticket=ticket,
        files=list(files),
        jobs=list(jobs),
    )
    record_event(team, user, "started import from", found.base_url)
    REMOTE_IMPORTS.notify(found.pk)
    return found


@transaction.atomic
def cancel_import(found: RemoteImport, user: User) -> None:
    """Stop an unfinished import. What it has imported stays."""
    error = {"message": "The import was cancelled.", "remedy": "What was imported before stays."}
    pending = RemoteImport.objects.filter(pk=found.pk, state__in=(WorkState.QUEUED, WorkState.RUNNING))
    if pending.update(state=WorkState.FAILED, error=error, lease_until=None, finished_at=timezone.now()):
        keys.delete(found.team, found.ticket)
        record_event(found.team, user, "cancelled import from", found.base_url)
