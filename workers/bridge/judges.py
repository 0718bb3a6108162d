"""Judges of a job or trial: the team's endpoints with their keys, and base models on model servers."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
from django.conf import settings
from django.db import DatabaseError, connection

from webapp.endpoints.models import Endpoint
from webapp.endpoints.services import KeyUnreadable, build_endpoint_spec, find_endpoints, read_key
from webapp.registry.models import BaseModel
from webapp.serving import servers
from webapp.serving.models import ModelServer
from webapp.teams.models import Team
from webapp.work.errors import LeaseLost, WorkFailed
from workers import grading
from workers.bridge import model_servers
from workers.contract.json_types import JsonObject
from workers.contract.spec import JudgeEndpoint

LOOK_SECONDS = 0.5
RENEW_SECONDS = 1.0
PROBE_SECONDS = 5.0
OPTION = "--keys-fd"
UNCLAIMED = "No worker has started it."
UNREACHED = (
    "It does not answer at {} from this worker. If it runs on another machine, set GROOVE_SERVE_HOST there."
)
log = logging.getLogger(__name__)
Report = Callable[[str], None]


class JudgeUnreachable(WorkFailed):
    """A base model could not be served as a judge; the message says why."""

    def __init__(self, message: str) -> None:
        remedy = "Correct the judge under Judges, or on this worker, then resume the job."
        super().__init__(message, remedy, code="judge_failing")


@dataclass(frozen=True)
class Connection:
    """Endpoints and keys of judges, by the grader's name for them."""

    endpoints: dict[str, JudgeEndpoint]
    keys: Mapping[str, str]
    moved: threading.Event  # set once a model server has ended: its URL is no longer true

    @property
    def json(self) -> JsonObject:
        """The endpoints as JSON, without keys."""
        return {name: endpoint.model_dump(mode="json") for name, endpoint in self.endpoints.items()}

    @property
    def secrets(self) -> dict[str, bytes]:
        """The keys as ``child.start_child`` takes them."""
        return {OPTION: json.dumps(dict(self.keys)).encode()}


def cache_folder(team: Team) -> Path:
    """Return the folder for the verdicts that a team has paid for."""
    return Path(settings.WORK_DIR) / "judge-cache" / team.slug


@contextmanager
def connect_judges(
    team: Team,
    definitions: Sequence[JsonObject],
    lost: threading.Event,
    *,
    spent: Mapping[str, float] | None = None,
    report: Report = log.info,
) -> Iterator[Connection]:
    """Yield the endpoints of all judges of the graders. Model servers of base models are held in the block.

    ``spent`` is the cost of earlier attempts, by judge; ``report`` gets the reason for waiting. A model
    without an endpoint is left out; grading reports it. Raises ``JudgeUnreachable``, and ``LeaseLost`` if the
    caller's attempt has ``lost`` its lease.
    """
    used: dict[str, Endpoint] = {}
    for definition in definitions:
        used |= find_endpoints(team, grading.validate(definition))
    moved = threading.Event()
    with ExitStack() as stack:
        endpoints: dict[str, JudgeEndpoint] = {}
        keys: dict[str, str] = {}
        for name, endpoint in used.items():
            base_url, keys[name] = endpoint.base_url, _read_key(endpoint)
            if endpoint.base_model:
                server = _wait_for_server(endpoint.base_model, lost, report)
                stack.enter_context(_hold(server, moved))
                base_url, keys[name] = server.url, server.token or ""
            update = {
                "spent": (spent or {}).get(name, 0.0),
                "on_this_worker": endpoint.base_model is not None,
            }
            endpoints[name] = build_endpoint_spec(endpoint, base_url).model_copy(update=update)
        yield Connection(endpoints, keys, moved)


def _read_key(endpoint: Endpoint) -> str:
    """Return the decrypted key. Raises ``JudgeUnreachable`` if this process has another secret."""
    try:
        return read_key(endpoint)
    except KeyUnreadable as error:
        raise JudgeUnreachable(str(error)) from error


# --- model servers ---------------------------------------------------------------------------------


def _wait_for_server(base: BaseModel, lost: threading.Event, report: Report) -> ModelServer:
    """Return the base's server once it answers. It starts on this node unless another one was first.

    Loading may take its time; a server that nobody can start is waited for as long as by the gateway.
    """
    reported, end = "", time.monotonic() + settings.SERVE_WAIT_SECONDS
    while not lost.is_set():
        server = _request_server(base)
        reason = _find_obstacle(server)
        if reason is None:
            return server
        if reason and (time.monotonic() > end or model_servers.DRAINING.is_set()):
            raise JudgeUnreachable(f"The model server of the judge {base} is not ready. {reason}")
        if reason and reason != reported:
            report(f"Waiting for the model server of the judge {base}. {reason}")
            reported = reason
        lost.wait(LOOK_SECONDS)
    raise LeaseLost


def _request_server(base: BaseModel) -> ModelServer:
    """Return the server, claimed for this node if nobody has: this thread may be all that the worker has."""
    try:
        server = servers.request_server(base)
    except servers.ServerFailed as error:
        raise JudgeUnreachable(f"The judge {base} cannot be served: {error}") from error
    if server.state == ModelServer.State.QUEUED:
        model_servers.serve_model(server.pk)
        server.refresh_from_db()
    return server


def _find_obstacle(server: ModelServer) -> str | None:
    """Return why the server cannot be used yet: "" while it loads, None if it answers."""
    if not server.ready:
        return (server.shortage or UNCLAIMED) if server.state == ModelServer.State.QUEUED else ""
    headers = {"Authorization": f"Bearer {server.token}"}
    try:
        answer = httpx2.get(f"{server.url}/models", headers=headers, timeout=PROBE_SECONDS, trust_env=False)
    except httpx2.HTTPError:
        return UNREACHED.format(server.url)
    return None if answer.is_success else UNREACHED.format(server.url)


@contextmanager
def _hold(server: ModelServer, moved: threading.Event) -> Iterator[None]:
    """Keep the server from stopping, as idle or with this worker. Sets ``moved`` if it ends all the same."""
    released = threading.Event()
    thread = threading.Thread(target=_renew_use, args=(server, released, moved), daemon=True)
    model_servers.HELD.append(server.pk)
    thread.start()
    try:
        yield
    finally:
        model_servers.HELD.remove(server.pk)
        released.set()
        thread.join()


def _renew_use(server: ModelServer, released: threading.Event, moved: threading.Event) -> None:
    while not released.wait(RENEW_SECONDS):
        try:
            if not servers.renew_use(server):
                moved.set()
                break
        except DatabaseError as error:  # it may return before the server counts as idle
            log.warning("%s: use not renewed: %s", server, error)
            connection.close()
    connection.close()
