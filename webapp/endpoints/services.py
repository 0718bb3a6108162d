"""Connect and check endpoints of judge models; find the endpoints that a grader asks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from webapp.core.fields import is_undecrypted
from webapp.endpoints.models import HINT_CHARACTERS, Endpoint, EndpointCheck
from webapp.endpoints.queues import ENDPOINT_CHECKS
from webapp.teams.models import Team, User
from webapp.teams.services import record_event
from webapp.work.models import WorkState
from workers import grading
from workers.contract import graders, spec

LIMITS = (
    "requests_per_minute", "tokens_per_minute", "concurrency", "timeout_seconds", "input_price",
    "output_price", "budget",
)  # fmt: skip


class KeyUnreadable(Exception):
    """The stored key was encrypted with another secret than this process has."""

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(
            f"The key of {endpoint.name!r} cannot be read here: GROOVE_SECRET_KEY differs from the one with "
            "which it was stored."
        )


def read_key(endpoint: Endpoint) -> str:
    """Return the decrypted key, empty if there is none. Raises ``KeyUnreadable``."""
    key = endpoint.api_key or ""
    if is_undecrypted(key):
        raise KeyUnreadable(endpoint)
    return key


@sensitive_variables()
@transaction.atomic
def connect_endpoint(team: Team, user: User, *, api_key: str = "", **values: Any) -> Endpoint:
    """Connect a judge model for the team's graders; ``values`` are the fields of ``Endpoint``."""
    endpoint = Endpoint.objects.create(
        team=team, created_by=user, api_key=api_key, key_hint=_hint(api_key), **values
    )
    record_event(team, user, "connected judge", endpoint)
    return endpoint


@sensitive_variables()
@transaction.atomic
def update_endpoint(endpoint: Endpoint, user: User, *, api_key: str = "", **values: Any) -> None:
    """Change an endpoint. Without a new key the old one stays, unless the URL changes."""
    # A key goes to the server that it was entered for and to no other.
    moved = values.get("base_url", endpoint.base_url) != endpoint.base_url
    changed = dict(values)
    if api_key or moved:
        changed |= {"api_key": api_key, "key_hint": _hint(api_key)}
    for name, value in changed.items():
        setattr(endpoint, name, value)
    endpoint.save(update_fields=list(changed))
    EndpointCheck.objects.filter(endpoint=endpoint).delete()
    record_event(endpoint.team, user, "changed judge", endpoint)


def _hint(api_key: str) -> str:
    """Return the end of a key, enough to tell two apart; nothing of a short one."""
    return api_key[-HINT_CHARACTERS:] if len(api_key) >= 4 * HINT_CHARACTERS else ""


@transaction.atomic
def delete_endpoint(endpoint: Endpoint, user: User) -> None:
    """Hide the endpoint and delete its key. Graders that name it wait for another endpoint of that name."""
    endpoint.deleted_at, endpoint.api_key, endpoint.key_hint = timezone.now(), None, ""
    endpoint.save(update_fields=["deleted_at", "api_key", "key_hint"])
    EndpointCheck.objects.filter(endpoint=endpoint).delete()
    record_event(endpoint.team, user, "disconnected judge", endpoint)


@transaction.atomic
def request_check(endpoint: Endpoint) -> None:
    """Enqueue a check: a worker asks the judge one small question."""
    check, _ = EndpointCheck.objects.get_or_create(endpoint=endpoint)
    ENDPOINT_CHECKS.enqueue(check, seconds=None)


def has_pending_check(endpoints: Iterable[Endpoint]) -> bool:
    """Return True if a check of one of the endpoints waits or runs."""
    pending = (WorkState.QUEUED, WorkState.RUNNING)
    return EndpointCheck.objects.filter(endpoint__in=endpoints, state__in=pending).exists()


def find_endpoints(team: Team, grader: graders.Grader) -> dict[str, Endpoint]:
    """Return the connected endpoints of the judges that the grader asks, by their names."""
    wanted = grading.judge_models(grader)
    found = Endpoint.objects.alive().filter(team=team, name__in=wanted).select_related("base_model")
    return {endpoint.name: endpoint for endpoint in found}


def list_missing_judges(team: Team, grader: graders.Grader) -> list[str]:
    """Return the judges that the grader asks and nobody has connected."""
    known = find_endpoints(team, grader)
    return [model for model in grading.judge_models(grader) if model not in known]


def build_endpoint_spec(endpoint: Endpoint, base_url: str = "") -> spec.JudgeEndpoint:
    """Return the endpoint as the engine gets it, without its key."""
    base = endpoint.base_model
    model = base.model_id if base else endpoint.model or endpoint.name
    identity = [endpoint.base_url, model]
    if base:
        identity += [base.model_id, base.revision, base.path]
        identity += [base.chat_template, base.template_arguments] if base.chat_template else []
    revision = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]
    limits = {name: getattr(endpoint, name) for name in LIMITS}
    return spec.JudgeEndpoint(
        base_url=base_url or endpoint.base_url, model=model, revision=revision, **limits
    )
