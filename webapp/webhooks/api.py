"""The HTTP API of webhook endpoints, for keys of owners."""

from __future__ import annotations

from typing import Annotated, Literal

from django.http import HttpRequest
from ninja import Router, Schema
from pydantic import StringConstraints

from webapp.core.api.errors import ApiError, NotFound
from webapp.core.api.lists import ListPage, list_page, parse_limit
from webapp.keys.authentication import ApiRequest, KeyAuthentication
from webapp.keys.models import Scope
from webapp.teams.models import Role
from webapp.webhooks import services
from webapp.webhooks.models import NAME_LENGTH, URL_LENGTH, EventType, WebhookEndpoint
from workers.contract.json_types import JsonObject

router = Router(tags=["Webhooks"])
OWNER_READ = KeyAuthentication(Scope.READ, Role.OWNER)
OWNER_WRITE = KeyAuthentication(Scope.WRITE, Role.OWNER)

Name = Annotated[str, StringConstraints(min_length=1, max_length=NAME_LENGTH)]
Url = Annotated[str, StringConstraints(min_length=1, max_length=URL_LENGTH)]


class CreateRequest(Schema):
    name: Name
    url: Url
    event_types: list[str]


class UpdateRequest(Schema):
    name: Name | None = None
    url: Url | None = None
    event_types: list[str] | None = None


class RotateRequest(Schema):
    keep_old_secret_active_for_24_hours: bool = False


class TestRequest(Schema):
    event_type: str


class EndpointObject(Schema):
    """A webhook endpoint. Times are Unix seconds."""

    object: Literal["webhook_endpoint"] = "webhook_endpoint"
    id: str
    name: str
    url: str
    event_types: list[str]
    created_at: int
    updated_at: int
    signing_secret_hint: str


class EndpointWithSecret(EndpointObject):
    """An endpoint with its signing secret: only after creation and rotation."""

    signing_secret: str


class DeletedEndpoint(Schema):
    object: Literal["webhook_endpoint.deleted"] = "webhook_endpoint.deleted"
    id: str
    deleted: bool = True


class TestResult(Schema):
    """The response of the endpoint to a sample event."""

    object: Literal["webhook_endpoint.test"] = "webhook_endpoint.test"
    event_type: str
    status_code: int
    success: Literal[True] = True
    webhook_endpoint_id: str


class EventTypes(Schema):
    object: Literal["list"] = "list"
    data: list[str]


def describe(endpoint: WebhookEndpoint) -> JsonObject:
    """Return the endpoint's object, without its secret."""
    return EndpointObject(
        id=endpoint.uid,
        name=endpoint.name,
        url=endpoint.url,
        event_types=endpoint.event_types,
        created_at=int(endpoint.created_at.timestamp()),
        updated_at=int(endpoint.updated_at.timestamp()),
        signing_secret_hint=endpoint.secret_hint,
    ).model_dump()


def _find(request: ApiRequest, uid: str) -> WebhookEndpoint:
    found = WebhookEndpoint.objects.select_related("team").filter(team=request.auth.team, uid=uid).first()
    if found is None:
        raise NotFound(f"No such webhook endpoint: {uid}")
    return found


def _refuse(error: services.EndpointRefused) -> ApiError:
    return ApiError(str(error), param=error.field, code="invalid_value")


@router.get("/webhook_event_types", auth=OWNER_READ, response=EventTypes)
def list_event_types(request: HttpRequest) -> EventTypes:
    """List the events that an endpoint can receive."""
    return EventTypes(data=list(EventType.values))


@router.get("/webhook_endpoints", auth=OWNER_READ, response=ListPage)
def list_endpoints(request: ApiRequest, after: str | None = None, limit: str | None = None) -> ListPage:
    """List the team's endpoints, newest first."""
    endpoints = WebhookEndpoint.objects.filter(team=request.auth.team)
    return list_page(endpoints, describe, after=after, limit=parse_limit(limit, 20))


@router.post("/webhook_endpoints", auth=OWNER_WRITE, response=EndpointWithSecret)
def create_endpoint(request: ApiRequest, body: CreateRequest) -> JsonObject:
    """Create an endpoint. Its signing secret is in this response only."""
    try:
        endpoint, secret = services.create_endpoint(request.auth.team, request.auth.user, **body.model_dump())
    except services.EndpointRefused as error:
        raise _refuse(error) from error
    return describe(endpoint) | {"signing_secret": secret}


@router.get("/webhook_endpoints/{endpoint_id}", auth=OWNER_READ, response=EndpointObject)
def retrieve_endpoint(request: ApiRequest, endpoint_id: str) -> JsonObject:
    """Retrieve an endpoint."""
    return describe(_find(request, endpoint_id))


@router.post("/webhook_endpoints/{endpoint_id}", auth=OWNER_WRITE, response=EndpointObject)
def update_endpoint(request: ApiRequest, endpoint_id: str, body: UpdateRequest) -> JsonObject:
    """Change the fields that are given."""
    endpoint = _find(request, endpoint_id)
    try:
        services.update_endpoint(endpoint, request.auth.user, **body.model_dump())
    except services.EndpointRefused as error:
        raise _refuse(error) from error
    return describe(endpoint)


@router.delete("/webhook_endpoints/{endpoint_id}", auth=OWNER_WRITE, response=DeletedEndpoint)
def delete_endpoint(request: ApiRequest, endpoint_id: str) -> DeletedEndpoint:
    """Delete an endpoint and its deliveries."""
    services.delete_endpoint(_find(request, endpoint_id), request.auth.user)
    return DeletedEndpoint(id=endpoint_id)


@router.post("/webhook_endpoints/{endpoint_id}/rotate_secret", auth=OWNER_WRITE, response=EndpointWithSecret)
def rotate_secret(request: ApiRequest, endpoint_id: str, body: RotateRequest | None = None) -> JsonObject:
    """Replace the signing secret. The new one is in this response only."""
    endpoint = _find(request, endpoint_id)
    keep_old = body is not None and body.keep_old_secret_active_for_24_hours
    secret = services.rotate_secret(endpoint, request.auth.user, keep_old=keep_old)
    return describe(endpoint) | {"signing_secret": secret}


@router.post("/webhook_endpoints/{endpoint_id}/test", auth=OWNER_WRITE, response=TestResult)
def test_endpoint(request: ApiRequest, endpoint_id: str, body: TestRequest) -> TestResult:
    """Send a sample event now and answer with the status that the endpoint returned."""
    endpoint = _find(request, endpoint_id)
    try:
        status = services.send_test(endpoint, request.auth.user, body.event_type)
    except services.EndpointRefused as error:
        raise ApiError(str(error), param="event_type", code="invalid_value") from error
    except services.TestFailed as error:
        raise ApiError(str(error), code="webhook_test_failed") from error
    return TestResult(event_type=body.event_type, status_code=status, webhook_endpoint_id=endpoint.uid)
