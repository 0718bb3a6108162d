"""Model servers as the web process sees them: request, find, stop, keep warm."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from webapp.core.fields import is_undecrypted
from webapp.registry.models import BaseModel
from webapp.serving.models import ModelServer, ServedAdapter
from webapp.serving.queues import SERVERS
from webapp.serving.routing import Route
from webapp.teams.models import Team, User
from webapp.teams.services import record_event
from webapp.work.models import WorkState

RETRY_AFTER = timedelta(seconds=30)  # a server or adapter that failed is tried again


class ServerFailed(Exception):
    """The model cannot be served; the message says why."""


@dataclass(frozen=True)
class ServedModel:
    """Where a model answers: ``model`` is its name there."""

    server_id: int
    url: str
    token: str
    model: str


def find_served(route: Route) -> ServedModel | None:
    """Return where the model answers; None while it loads, which this call starts if needed.

    Counts as a use of the server. Raises ``ServerFailed``.
    """
    server = request_server(route.base)
    if not server.ready or (route.sha256 and not _request_adapter(server, route)):
        return None
    renew_use(server)
    return ServedModel(server.pk, server.url, server.token or "", route.sha256 or route.base.model_id)


def renew_use(server: ModelServer) -> bool:
    """Keep the server from stopping as idle. Return False if the attempt that answered has ended."""
    held = ModelServer.objects.filter(pk=server.pk, attempt=server.attempt, state=WorkState.RUNNING)
    return bool(held.update(last_used_at=timezone.now()))


def request_server(base: BaseModel) -> ModelServer:
    """Return the base's server, queued if it has stopped.

    Raises ``ServerFailed`` soon after a failure, and if this process cannot read the server's token.
    """
    with transaction.atomic():
        server, new = ModelServer.objects.get_or_create(base_model=base)
        if new:
            SERVERS.notify(server.pk)
    if server.state == WorkState.FAILED and not _is_over(server.finished_at):
        raise ServerFailed(server.error.message if server.error else "Its server failed.")
    if not server.pending:
        start_server(server)
        server.refresh_from_db()
    if is_undecrypted(server.token or ""):
        raise ServerFailed("The processes of Groove have different secrets (GROOVE_SECRET_KEY).")
    return server


def _is_over(failed_at: datetime | None) -> bool:
    return failed_at is None or failed_at < timezone.now() - RETRY_AFTER


@transaction.atomic
def start_server(server: ModelServer) -> bool:
    """Queue a server that has stopped or failed. Return False if somebody was first."""
    seen = Q(state=server.state, attempt=server.attempt)
    now = timezone.now()
    fresh = {"crashes": 0, "error": None, "finished_at": None, "queued_at": now, "last_used_at": now}
    if server.pending or not SERVERS.change(server.pk, WorkState.QUEUED, guard=seen, **fresh):
        return False
    SERVERS.notify(server.pk)
    return True


def _request_adapter(server: ModelServer, route: Route) -> bool:
    """Return True if the adapter is loaded; otherwise the worker finds the request in its row."""
    adapter, _ = ServedAdapter.objects.get_or_create(
        server=server,
        sha256=route.sha256,
        defaults={"tuned_model": route.tuned_model, "checkpoint": route.checkpoint},
    )
    if adapter.error and not _is_over(adapter.changed_at):
        raise ServerFailed(adapter.error)
    values = {"tuned_model": route.tuned_model, "checkpoint": route.checkpoint, "error": ""}
    ServedAdapter.objects.filter(pk=adapter.pk).update(last_used_at=timezone.now(), **values)
    return adapter.loaded_attempt == server.attempt


def forget_adapter(served: ServedModel) -> None:
    """Have the worker load the adapter again: the server does not hold it."""
    ServedAdapter.objects.filter(server=served.server_id, sha256=served.model).update(loaded_attempt=0)


# --- what people do --------------------------------------------------------------------------------


@transaction.atomic
def stop_server(server: ModelServer, team: Team, user: User) -> bool:
    """Stop a server that waits or runs: its worker ends the process at once. The next use starts it."""
    pending = Q(state__in=(WorkState.QUEUED, WorkState.RUNNING))
    ended = {"lease_until": None, "finished_at": timezone.now(), "warm": False}
    stopped = SERVERS.change(server.pk, WorkState.FINISHED, guard=pending, **ended)
    if stopped:
        record_event(team, user, "stopped model server", server.base_model)
    return stopped


@transaction.atomic
def keep_warm(server: ModelServer, team: Team, user: User, warm: bool) -> None:
    """Set whether the server stays while it is idle, and start it if it should."""
    ModelServer.objects.filter(pk=server.pk).update(warm=warm, last_used_at=timezone.now())
    record_event(team, user, "keeps model warm" if warm else "lets model stop when idle", server.base_model)
    if warm and not server.pending:
        start_server(server)


# --- what workers do -------------------------------------------------------------------------------


def stop_if_idle(server: ModelServer) -> bool:
    """Finish the attempt if nobody has used the server lately. A use at the same moment keeps it."""
    now = timezone.now()
    idle = Q(warm=False, last_used_at__lt=now - timedelta(seconds=settings.SERVE_IDLE_SECONDS))
    held = Q(attempt=server.attempt, state=WorkState.RUNNING)
    ended = {"lease_until": None, "finished_at": now}
    return SERVERS.change(server.pk, WorkState.FINISHED, guard=held & idle, **ended)


@transaction.atomic
def release_server(server: ModelServer) -> None:
    """Queue the server again for another worker, because this one shuts down."""
    held = Q(attempt=server.attempt, state=WorkState.RUNNING)
    if SERVERS.change(server.pk, WorkState.QUEUED, guard=held, lease_until=None):
        SERVERS.notify(server.pk)


def list_missing_adapters(server: ModelServer) -> list[ServedAdapter]:
    """Return the adapters that somebody asked for and this attempt has not loaded."""
    missing = server.adapters.filter(error="").exclude(loaded_attempt=server.attempt)
    return list(missing.select_related("tuned_model", "checkpoint__job").order_by(F("last_used_at").desc()))
