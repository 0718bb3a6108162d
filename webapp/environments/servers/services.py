"""Environments at servers: the kinds, connecting and changing one, and the secrets that workers get."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.views.decorators.debug import sensitive_variables

from webapp.core.fields import is_undecrypted
from webapp.environments import services
from webapp.environments.models import Environment, EnvironmentVersion, ServerSecret
from webapp.teams.models import Team, User
from workers.contract.environments import McpEnvironment, OrsEnvironment, ServerEnvironment


@dataclass(frozen=True)
class ServerKind:
    """A kind of server: its definition, and the page's words for it."""

    definition: type[OrsEnvironment] | type[McpEnvironment]
    label: str
    explanation: str

    @property
    def type(self) -> str:
        """The type of its definitions."""
        return str(self.definition.model_fields["type"].default)


SERVER_KINDS = (
    ServerKind(
        OrsEnvironment, "Open Reward Standard (ORS)", "Tasks, tools and rewards come from the server."
    ),
    ServerKind(
        McpEnvironment, "MCP server", "Tools alone. Rows of your datasets are the tasks, your grader rewards."
    ),
)


@sensitive_variables()
@transaction.atomic
def connect_server(
    team: Team, user: User, kind: str, name: str, *, secret: str = "", **values: Any
) -> Environment:
    """Create an environment that a server plays; ``values`` are fields of its definition."""
    named = _store_secret(team, user, values["url"], secret)
    source = _write_definition(kind, values | {"secret": named})
    return services.create_environment(team, user, name, source, kind=kind)


@sensitive_variables()
@transaction.atomic
def change_server(
    latest: EnvironmentVersion, user: User, *, secret: str = "", note: str = "", **values: Any
) -> tuple[EnvironmentVersion, bool]:
    """Return the version with these values, and True if it is new.

    Without a new secret the stored one stays, unless the URL changes.
    """
    environment = latest.environment
    kept = read_definition(latest).secret if values["url"] == read_definition(latest).url else ""
    named = _store_secret(environment.team, user, values["url"], secret) or kept
    source = _write_definition(latest.type, values | {"secret": named})
    return services.add_version(environment, user, source, note, latest.type)


def read_definition(version: EnvironmentVersion) -> ServerEnvironment:
    """Return the definition of a version at a server."""
    definition = version.definition
    assert isinstance(definition, ServerEnvironment)
    return definition


def read_secrets(versions: Iterable[EnvironmentVersion]) -> dict[str, str]:
    """Return the secrets that versions name, for the servers that they were entered for.

    One that was encrypted with another ``GROOVE_SECRET_KEY`` is left out.
    """
    secrets: dict[str, str] = {}
    for version in versions:
        if not version.at_server or not (definition := read_definition(version)).secret:
            continue
        stored = ServerSecret.objects.filter(
            uid=definition.secret, url=definition.url, team=version.environment.team_id
        ).first()
        if stored and not is_undecrypted(stored.value):
            secrets[stored.uid] = stored.value
    return secrets


@sensitive_variables()
def _store_secret(team: Team, user: User, url: str, secret: str) -> str:
    if not secret:
        return ""
    stored: str = ServerSecret.objects.create(team=team, url=url, value=secret, created_by=user).uid
    return stored


def _write_definition(kind: str, values: dict[str, Any]) -> str:
    definition = next(each.definition for each in SERVER_KINDS if each.type == kind)
    fields = {name: value for name, value in values.items() if name in definition.model_fields}
    return json.dumps(definition(**fields).model_dump(mode="json", exclude={"name", "type"}), indent=2)
