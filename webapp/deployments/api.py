"""The HTTP API of deployments: an extension of OpenAI's."""

from __future__ import annotations

from typing import Literal

from ninja import Router, Schema

from webapp.catalog.model_names import ModelTarget, find_target
from webapp.core.api.errors import ApiError, NotFound
from webapp.core.api.lists import ListPage, Order, list_page, parse_limit
from webapp.core.api.texts import StorableText
from webapp.deployments import services
from webapp.deployments.models import Deployment, Promotion, ServedVersion
from webapp.keys.authentication import READ, WRITE, ApiRequest
from webapp.teams.models import Team
from workers.contract.json_types import JsonObject

router = Router(tags=["Deployments"])


class VersionObject(Schema):
    """A version: the model that answers, by name and by the SHA-256 of its adapter's weights."""

    id: str
    object: Literal["deployment.version"] = "deployment.version"
    created_at: int
    number: int
    model: str
    base_model: str
    adapter_sha256: str


class DeploymentObject(Schema):
    """A name that callers put in ``model``, with the version that answers."""

    id: str
    object: Literal["deployment"] = "deployment"
    created_at: int
    name: str
    stable: VersionObject


class PromotionObject(Schema):
    """A change of the version that answers."""

    id: str
    object: Literal["deployment.promotion"] = "deployment.promotion"
    created_at: int
    kind: str
    from_version: str | None
    to_version: str
    promoted_by: str | None
    reason: str


class NewDeployment(Schema):
    """``model`` is the name of a base model, a tuned model or a checkpoint."""

    name: StorableText
    model: StorableText
    reason: StorableText = ""


class NewPromotion(Schema):
    """Either ``model``, which becomes a version, or the id of a ``version``."""

    model: StorableText | None = None
    version: StorableText | None = None
    reason: StorableText = ""


class Rollback(Schema):
    """``from_version`` is the version that the caller saw as stable; if another one is, nothing changes."""

    from_version: StorableText | None = None
    reason: StorableText = ""


def describe_version(version: ServedVersion) -> VersionObject:
    """Return the API's object of a version."""
    return VersionObject(
        id=version.uid,
        created_at=int(version.created_at.timestamp()),
        number=version.number,
        model=version.model_name,
        base_model=version.base_model.model_id,
        adapter_sha256=version.adapter_sha256,
    )


def describe_deployment(deployment: Deployment) -> JsonObject:
    """Return the API's object of a deployment."""
    return DeploymentObject(
        id=deployment.uid,
        created_at=int(deployment.created_at.timestamp()),
        name=deployment.name,
        stable=describe_version(deployment.stable),
    ).dict()


def _describe_promotion(promotion: Promotion) -> JsonObject:
    return PromotionObject(
        id=promotion.uid,
        created_at=int(promotion.created_at.timestamp()),
        kind=promotion.kind,
        from_version=promotion.previous.uid if promotion.previous else None,
        to_version=promotion.version.uid,
        promoted_by=promotion.promoted_by.email if promotion.promoted_by else None,
        reason=promotion.reason,
    ).dict()


def _find(team: Team, name: str) -> Deployment:
    deployment = services.find_deployment(team, name)
    if deployment is None:
        raise NotFound(f"No deployment has the name or id {name!r}.")
    return deployment


def _find_model(team: Team, name: str) -> ModelTarget:
    target = find_target(team, name)
    if target is None:
        raise NotFound(f"The model {name!r} does not exist.", param="model", code="model_not_found")
    return target


@router.get("", auth=READ, response=ListPage)
def list_deployments(
    request: ApiRequest, after: str | None = None, limit: str | None = None, order: Order = "desc"
) -> ListPage:
    """List the team's deployments."""
    deployments = Deployment.objects.with_stable().filter(team=request.auth.team)
    return list_page(deployments, describe_deployment, after=after, limit=parse_limit(limit, 20), order=order)


@router.post("", auth=WRITE, response=DeploymentObject)
def create_deployment(request: ApiRequest, body: NewDeployment) -> JsonObject:
    """Deploy a model under a new name."""
    team = request.auth.team
    if services.find_deployment(team, body.name):
        message = f"A deployment named {body.name!r} exists. Promote the model there, or choose another name."
        raise ApiError(message, param="name", code="name_taken")
    target = _find_model(team, body.model)
    return describe_deployment(services.deploy(team, request.auth.user, body.name, target, body.reason))


@router.get("/{name}", auth=READ, response=DeploymentObject)
def retrieve_deployment(request: ApiRequest, name: str) -> JsonObject:
    """Retrieve a deployment by its name or id."""
    return describe_deployment(_find(request.auth.team, name))


@router.get("/{name}/promotions", auth=READ, response=ListPage)
def list_promotions(
    request: ApiRequest,
    name: str,
    after: str | None = None,
    limit: str | None = None,
    order: Order = "desc",
) -> ListPage:
    """List every change of the version that answers."""
    log = _find(request.auth.team, name).promotions.select_related("previous", "version", "promoted_by")
    return list_page(log, _describe_promotion, after=after, limit=parse_limit(limit, 20), order=order)


@router.post("/{name}/promote", auth=WRITE, response=DeploymentObject)
def promote(request: ApiRequest, name: str, body: NewPromotion) -> JsonObject:
    """Let a model or an earlier version answer from now on."""
    team, user = request.auth.team, request.auth.user
    deployment = _find(team, name)
    if (body.model is None) == (body.version is None):
        raise ApiError("Send either 'model' or 'version'.", param="model", code="invalid_value")
    if body.model is not None:
        target = _find_model(team, body.model)
        return describe_deployment(services.deploy(team, user, deployment.name, target, body.reason))
    version = deployment.versions.select_related("deployment").filter(uid=body.version).first()
    if version is None:
        raise NotFound(f"{deployment.name} has no version {body.version!r}.", param="version")
    services.promote(deployment, version, user, body.reason)
    return describe_deployment(deployment)


@router.post("/{name}/rollback", auth=WRITE, response=DeploymentObject)
def roll_back(request: ApiRequest, name: str, body: Rollback) -> JsonObject:
    """Return to the version that answered before."""
    deployment = _find(request.auth.team, name)
    services.roll_back(deployment, request.auth.user, body.reason, leaving=body.from_version)
    return describe_deployment(deployment)
