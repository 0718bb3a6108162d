"""``/v1/environments``: environments and their versions, an extension of OpenAI's API."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from ninja import Router, Schema
from pydantic import StringConstraints

from webapp.core.api.errors import ApiError, NotFound
from webapp.core.api.lists import ListPage, Order, list_page, parse_limit
from webapp.core.api.texts import StorableText
from webapp.environments import services
from webapp.environments.models import Environment, EnvironmentVersion
from webapp.keys.authentication import READ, WRITE, ApiRequest
from webapp.teams.models import Team

router = Router(tags=["Environments"])

Name = Annotated[StorableText, StringConstraints(min_length=1, max_length=120)]
Line = Annotated[StorableText, StringConstraints(max_length=200)]


class EnvironmentObject(Schema):
    """A named series of versions; ``version`` is the newest one's id."""

    id: str
    object: Literal["environment"] = "environment"
    created_at: int
    name: str
    description: str
    version: str


class EnvironmentVersionObject(Schema):
    """A version. ``status`` is queued, running, finished or failed: how far its inspection is.

    ``tools``, ``splits`` (number of tasks by name) and ``findings`` are what the inspection found.
    """

    id: str
    object: Literal["environment.version"] = "environment.version"
    created_at: int
    number: int
    note: str
    source: str
    sha256: str
    status: str
    error: str | None
    tools: list[dict[str, Any]]
    splits: dict[str, int]
    findings: list[dict[str, Any]]


class DeletedEnvironment(Schema):
    id: str
    object: Literal["environment.deleted"] = "environment.deleted"
    deleted: bool = True


class NewEnvironment(Schema):
    name: Name
    source: StorableText
    description: Line = ""


class NewVersion(Schema):
    source: StorableText
    note: Line = ""


def describe_environment(environment: Environment) -> dict[str, Any]:
    """Return the API's object of an environment."""
    newest = environment.versions.only("uid").first()
    assert newest is not None, f"{environment} has no version"
    return EnvironmentObject(
        id=environment.uid,
        created_at=int(environment.created_at.timestamp()),
        name=environment.name,
        description=environment.description,
        version=newest.uid,
    ).dict()


def describe_version(version: EnvironmentVersion) -> dict[str, Any]:
    """Return the API's object of a version, with what its inspection found."""
    inspection = version.inspection
    found, error = inspection.found, inspection.error
    return EnvironmentVersionObject(
        id=version.uid,
        created_at=int(version.created_at.timestamp()),
        number=version.number,
        note=version.note,
        source=version.source,
        sha256=version.sha256,
        status=inspection.state,
        error=f"{error.message} {error.remedy}".strip() if error else None,
        tools=found.tools if found else [],
        splits={split.name: split.count for split in found.splits} if found else {},
        findings=[finding.model_dump() for finding in found.findings] if found else [],
    ).dict()


def _find(team: Team, uid: str) -> Environment:
    found = Environment.objects.alive().select_related("team").filter(team=team, uid=uid).first()
    if found is None:
        raise NotFound(f"No such environment: {uid}")
    return found


def _refuse(error: services.SourceInvalid) -> ApiError:
    return ApiError(f"Invalid 'source': {error}", param="source", code="invalid_value")


@router.get("", auth=READ, response=ListPage)
def list_environments(
    request: ApiRequest, after: str | None = None, limit: str | None = None, order: Order = "desc"
) -> ListPage:
    """List the team's environments."""
    environments = Environment.objects.alive().filter(team=request.auth.team)
    return list_page(
        environments, describe_environment, after=after, limit=parse_limit(limit, 20), order=order
    )


@router.post("", auth=WRITE, response=EnvironmentObject)
def create_environment(request: ApiRequest, body: NewEnvironment) -> dict[str, Any]:
    """Create an environment with its first version. A worker then checks it in the sandbox."""
    team, user = request.auth.team, request.auth.user
    try:
        made = services.create_environment(team, user, body.name, body.source, body.description)
    except services.SourceInvalid as error:
        raise _refuse(error) from error
    return describe_environment(made)


@router.get("/{environment_id}", auth=READ, response=EnvironmentObject)
def retrieve_environment(request: ApiRequest, environment_id: str) -> dict[str, Any]:
    """Retrieve an environment."""
    return describe_environment(_find(request.auth.team, environment_id))


@router.delete("/{environment_id}", auth=WRITE, response=DeletedEnvironment)
def delete_environment(request: ApiRequest, environment_id: str) -> DeletedEnvironment:
    """Delete an environment. Jobs that use it continue; a member can restore it on its page."""
    environment = _find(request.auth.team, environment_id)
    services.delete_environment(environment, request.auth.user)
    return DeletedEnvironment(id=environment.uid)


@router.get("/{environment_id}/versions", auth=READ, response=ListPage)
def list_versions(
    request: ApiRequest,
    environment_id: str,
    after: str | None = None,
    limit: str | None = None,
    order: Order = "desc",
) -> ListPage:
    """List an environment's versions, with what their inspections found."""
    versions = _find(request.auth.team, environment_id).versions.select_related("inspection")
    return list_page(versions, describe_version, after=after, limit=parse_limit(limit, 20), order=order)


@router.post("/{environment_id}/versions", auth=WRITE, response=EnvironmentVersionObject)
def create_version(request: ApiRequest, environment_id: str, body: NewVersion) -> dict[str, Any]:
    """Save a version. The newest version's own source makes none and is returned."""
    environment = _find(request.auth.team, environment_id)
    try:
        version, _ = services.add_version(environment, request.auth.user, body.source, body.note)
    except services.SourceInvalid as error:
        raise _refuse(error) from error
    return describe_version(version)
