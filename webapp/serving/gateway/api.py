"""``POST /v1/chat/completions``: the gateway to model servers."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from webapp.interactions.api.completions import router
from webapp.keys.authentication import ApiRequest, KeyAccess, KeyAuthentication
from webapp.keys.models import Scope
from webapp.serving.gateway import threads
from webapp.serving.gateway.callers import Caller
from webapp.serving.gateway.completions import Completion
from webapp.serving.gateway.limits import count_request
from webapp.serving.gateway.recent import Recent
from webapp.serving.gateway.responses import respond
from webapp.serving.gateway.schemas import CompletionRequest
from webapp.serving.routing import Route, find_route
from workers.contract.json_types import JsonObject

__all__ = ["router"]  # of stored completions, which have the same path
IDEMPOTENCY = "Idempotency-Key"
KEY_LENGTH = 255
RECENT_SECONDS = 1.0  # a promotion or a revoked key is noticed after that


_accesses: Recent[tuple[str | None, str | None], KeyAccess] = Recent(RECENT_SECONDS)
_routes: Recent[tuple[int, str], Route] = Recent(RECENT_SECONDS)


class GatewayAuthentication(KeyAuthentication):
    """Checks keys in the gateway's threads. A revoked key works for a second more."""

    is_async = True

    async def __call__(self, request: HttpRequest) -> Any:
        """Return the key's access. Raises ApiError."""
        caller = (request.headers.get(self.header), request.META.get("REMOTE_ADDR"))
        access = await _accesses.find(caller, partial(threads.run, self.check, request))
        await count_request(access.key)
        return access


@router.post("", auth=GatewayAuthentication(Scope.INFERENCE), response=JsonObject)
async def create_completion(request: ApiRequest, body: CompletionRequest) -> HttpResponseBase:
    """Create a chat completion with a base model, tuned model, checkpoint or deployment of the team."""
    team = request.auth.team
    route = await _routes.find((team.pk, body.model), partial(threads.run, find_route, team, body.model))
    caller = Caller(team, request.auth.user, request.auth.key)
    completion = Completion(caller, body, route, request.headers.get(IDEMPOTENCY, "")[:KEY_LENGTH])
    return await respond(completion)
