"""The judges of a job or trial: its team's endpoints, keys in memory, and own models served meanwhile."""

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
from typing import Any

from django.conf import settings

from webapp.endpoints.models import Endpoint
from webapp.endpoints.services import build_endpoint_spec, find_endpoints, is_undecrypted
from webapp.teams.models import Team
from webapp.work.errors import WorkFailed
from workers.bridge import child
from workers.bridge.jobs.files import local_ref
from workers.contract.base_models.arguments import write_arguments
from workers.contract.graders import Grader
from workers.contract.spec import JudgeEndpoint

SERVE_SECONDS = 120
OPTION = "--keys-fd"


class JudgeUnreachable(WorkFailed):
    """A base model that should judge could not be served; the message says why."""

    def __init__(self, message: str) -> None:
        remedy = "Correct the judge under Judges, or on this worker, then resume the job."
        super().__init__(message, remedy, code="judge_failing")


@dataclass(frozen=True)
class Connection:
    """Where the judges answer, by the name that the grader uses, and their keys."""

    endpoints: dict[str, JudgeEndpoint]
    keys: Mapping[str, str]

    @property
    def json(self) -> dict[str, Any]:
        """The endpoints as plain data, for a spec or a request. Keys are no part of it."""
        return {name: endpoint.model_dump(mode="json") for name, endpoint in self.endpoints.items()}

    @property
    def secrets(self) -> dict[str, bytes]:
        """The keys as ``child.started`` hands them on."""
        return {OPTION: json.dumps(dict(self.keys)).encode()}


def cache_folder(team: Team) -> Path:
    """Where this node keeps the verdicts that a team has paid for."""
    return Path(settings.WORK_DIR) / "judge-cache" / team.slug


@contextmanager
def connected(
    team: Team, graders: Sequence[Grader], spent: Mapping[str, float] | None = None
) -> Iterator[Connection]:
    """The endpoints of every judge that the graders ask; a base model is served until the end.

    ``spent`` is what earlier attempts have cost, by judge. A model without an endpoint is left out: grading
    then says which. Raises ``JudgeUnreachable``.
    """
    wanted: dict[str, Endpoint] = {}
    for grader in graders:
        wanted |= find_endpoints(team, grader)
    with ExitStack() as stack:
        endpoints: dict[str, JudgeEndpoint] = {}
        keys: dict[str, str] = {}
        for name, endpoint in wanted.items():
            base_url, keys[name] = endpoint.base_url, _key(endpoint)
            if endpoint.base_model:
                base_url, keys[name] = stack.enter_context(_served(endpoint))
            told = build_endpoint_spec(endpoint, base_url)
            changed = {
                "spent": (spent or {}).get(name, 0.0),
                "on_this_worker": endpoint.base_model is not None,
            }
            endpoints[name] = told.model_copy(update=changed)
        yield Connection(endpoints, keys)


def _key(endpoint: Endpoint) -> str:
    """The key as it was given. Raises ``JudgeUnreachable`` if this process has another secret."""
    key = endpoint.api_key or ""
    if is_undecrypted(key):
        raise JudgeUnreachable(
            f"This worker cannot read the key of the judge {endpoint.name!r}: its GROOVE_SECRET_KEY is not "
            "the one that the key was stored with."
        )
    return key


@contextmanager
def _served(endpoint: Endpoint) -> Iterator[tuple[str, str]]:
    """A base model behind a loopback address that only the holder of its token can use."""
    base, token = endpoint.base_model, secrets.token_urlsafe(32)
    assert base is not None
    arguments = ["workers.serve", "--name", endpoint.model or base.model_id]
    with tempfile.TemporaryDirectory(prefix="groove-serve-") as folder:
        log = Path(folder) / "serve.log"
        arguments += write_arguments(local_ref(base), Path(folder) / "rendering.json")
        with child.started(arguments, {"cpu_cores": 1}, log, {"--token-fd": token.encode()}) as process:
            yield f"http://127.0.0.1:{_port(process, log)}/v1", token


def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    """The port that the server names once it answers."""
    deadline = time.monotonic() + SERVE_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        for line in child.tail(log).splitlines():
            if line.startswith('{"port"'):
                return int(json.loads(line)["port"])
        time.sleep(0.1)
    raise JudgeUnreachable(f"The judge's base model could not be served: {child.tail(log)[-500:]}")
