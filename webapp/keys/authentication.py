"""Authentication of API requests by key. A request's ``auth`` is a ``KeyAccess``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from allauth.account.adapter import get_adapter
from django.conf import settings
from django.http import HttpRequest
from ninja.security import HttpBearer
from ninja.throttling import SimpleRateThrottle

from webapp.core.api.errors import ApiError
from webapp.keys.models import ApiKey, Scope
from webapp.keys.services import find_key, record_use
from webapp.teams.access import TeamAccess
from webapp.teams.models import Membership, Role, User

INVALID_KEY = (
    "Incorrect API key provided. Send a key of your team in the header 'Authorization: Bearer KEY'; "
    "create one under Settings, API keys."
)


class ApiRequest(HttpRequest):
    """A request whose key has been checked."""

    auth: KeyAccess


@dataclass(frozen=True)
class KeyAccess(TeamAccess):
    """The rights of a key. ``user`` is None for a service key."""

    user: User | None
    key: ApiKey


def _find_role(key: ApiKey) -> Role | None:
    """Return the role that the key acts with; None if its user has left the team."""
    if key.user is None:
        return Role(key.role)
    if not key.user.is_active:
        return None
    role = Membership.objects.filter(team=key.team, user=key.user).values_list("role", flat=True).first()
    return Role(role) if role else None


class KeyAuthentication(HttpBearer):
    """Accepts keys with one scope. The lowest ``role`` refuses viewers' keys what viewers may not do."""

    openapi_name = "ApiKey"

    def __init__(self, scope: Scope, role: Role = Role.VIEWER) -> None:
        super().__init__()
        self.scope, self.role = scope, role

    def __call__(self, request: HttpRequest) -> Any:
        access = super().__call__(request)
        if access is None:
            raise ApiError(INVALID_KEY, status=401, code="invalid_api_key")
        return access

    def authenticate(self, request: HttpRequest, token: str) -> KeyAccess:
        """Return the key's access. Raises ApiError (401, or 403 without the scope or role)."""
        key = find_key(token)
        role = _find_role(key) if key else None
        if key is None or role is None:
            raise ApiError(INVALID_KEY, status=401, code="invalid_api_key")
        record_use(key, get_adapter().get_client_ip(request))
        if self.scope not in key.scopes:
            raise ApiError(
                f"This key lacks the scope {self.scope.value!r}. Create a key that has it.", status=403
            )
        access = KeyAccess(key.team, role, key.user, key)
        access.require(self.role)
        return access


class KeyThrottle(SimpleRateThrottle):
    """Limits the requests a minute of each key."""

    scope = "key"

    def get_rate(self) -> str:
        return f"{settings.API_REQUESTS_PER_MINUTE}/min"

    def get_cache_key(self, request: HttpRequest) -> str | None:
        access = getattr(request, "auth", None)
        return f"api:{access.key.pk}" if isinstance(access, KeyAccess) else None


READ = KeyAuthentication(Scope.READ)
WRITE = KeyAuthentication(Scope.WRITE, Role.EDITOR)
INFERENCE = KeyAuthentication(Scope.INFERENCE)
