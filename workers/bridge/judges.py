"""Judges of a job or trial: the team's endpoints with their keys, and base models served as judges."""

from __future__ import annotations

import json
import secrets
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from webapp.core.fields import is_undecrypted
from webapp.endpoints.models import Endpoint
from webapp.endpoints.services import build_endpoint_spec, find_endpoints
from webapp.teams.models import Team
from webapp.work.errors import WorkFailed
from workers import grading
from workers.bridge import child
from workers.bridge.jobs.files import local_ref
from workers.contract.base_models.arguments import write_arguments
from workers.contract.devices import GivenDevices
from workers.contract.json_types import JsonObject
from workers.contract.spec import JudgeEndpoint

SERVE_SECONDS = 120
OPTION = "--keys-fd"


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
    team: Team, definitions: Sequence[JsonObject], spent: Mapping[str, float] | None = None
) -> Iterator[Connection]:
    """Yield the endpoints of all judges of the graders. Base models are served inside the block.

    ``spent`` is the cost of earlier attempts, by judge. A model without an endpoint is left out; grading
    reports it. Raises ``JudgeUnreachable``.
    """
    used: dict[str, Endpoint] = {}
    for definition in definitions:
        used |= find_endpoints(team, grading.validate(definition))
    with ExitStack() as stack:
        endpoints: dict[str, JudgeEndpoint] = {}
        keys: dict[str, str] = {}
        for name, endpoint in used.items():
            base_url, keys[name] = endpoint.base_url, _read_key(endpoint)
            if endpoint.base_model:
                base_url, keys[name] = stack.enter_context(_serve_base_model(endpoint))
            update = {
                "spent": (spent or {}).get(name, 0.0),
                "on_this_worker": endpoint.base_model is not None,
            }
            endpoints[name] = build_endpoint_spec(endpoint, base_url).model_copy(update=update)
        yield Connection(endpoints, keys)


def _read_key(endpoint: Endpoint) -> str:
    """Return the decrypted key. Raises ``JudgeUnreachable`` if this process has another secret."""
    key = endpoint.api_key or ""
    if is_undecrypted(key):
        raise JudgeUnreachable(
            f"This worker cannot read the key of the judge {endpoint.name!r}: its GROOVE_SECRET_KEY differs "
            "from the one with which the key was stored."
        )
    return key


@contextmanager
def _serve_base_model(endpoint: Endpoint) -> Iterator[tuple[str, str]]:
    """Serve a base model on loopback; yield its URL and its token."""
    base, token = endpoint.base_model, secrets.token_urlsafe(32)
    assert base is not None
    arguments = ["workers.serve", "--name", endpoint.model or base.model_id]
    with tempfile.TemporaryDirectory(prefix="groove-serve-") as folder:
        log = Path(folder) / "serve.log"
        arguments += write_arguments(local_ref(base), Path(folder) / "rendering.json")
        pipes = {"--token-fd": token.encode()}
        with child.start_child(arguments, GivenDevices(cpu_cores=1), log, pipes) as process:
            yield f"http://127.0.0.1:{_wait_for_port(process, log)}/v1", token


def _wait_for_port(process: subprocess.Popen[bytes], log: Path) -> int:
    """Return the port, which the server prints once it is ready."""
    deadline = time.monotonic() + SERVE_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if (port := read_port(log)) is not None:
            return port
        time.sleep(0.1)
    raise JudgeUnreachable(f"The judge's base model could not be served: {child.read_tail(log)[-500:]}")


def read_port(log: Path) -> int | None:
    """Return the port of a model server; None until it is ready."""
    for line in child.read_tail(log).splitlines():
        if line.startswith('{"port"'):
            return int(json.loads(line)["port"])
    return None
