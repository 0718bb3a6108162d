"""Authentication of API requests by key. A request's ``auth`` is a ``KeyAccess``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from allauth.account.adapter import get_adapter
from django.http import HttpRequest
from ninja.security.http import HttpAuthBase

from webapp.core.api.errors import ApiError
from webapp.keys.limits import count_request
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


def find_key_access(authorization: str) -> KeyAccess | None:
    """Return the rights of the key in an ``Authorization`` header, if it works and its user is a member."""
    scheme, _, secret = authorization.partition(" ")
    key = find_key(secret.strip()) if scheme.lower() == "bearer" else None
    role = _find_role(key) if key else None
    return KeyAccess(key.team, role, key.user, key) if key and role else None


class KeyAuthentication(HttpAuthBase):
    """Accepts keys with one scope. The lowest ``role`` refuses viewers' keys what viewers may not do."""

    openapi_scheme = "bearer"
    header = "Authorization"

    def __init__(self, scope: Scope, role: Role = Role.VIEWER) -> None:
        super().__init__()
        self.scope, self.role = scope, role

    def __call__(self, request: HttpRequest) -> Any:
        """Return the key's access. Raises ApiError: 401, 403 without the scope, 429 above the limit."""
        access = self.check(request)
        count_request(access.key)
        return access

    def check(self, request: HttpRequest) -> KeyAccess:
        """Return the key's access without counting the request. Raises ApiError."""
        access = find_key_access(request.headers.get(self.header, ""))
        if access is None:
            raise ApiError(INVALID_KEY, status=401, code="invalid_api_key")
        record_use(access.key, get_adapter().get_client_ip(request))
        if self.scope not in access.key.scopes:
            raise ApiError(
                f"This key lacks the scope {self.scope.value!r}. Create a key that has it.", status=403
            )
        access.require(self.role)
        return access


READ = KeyAuthentication(Scope.READ)
WRITE = KeyAuthentication(Scope.WRITE, Role.EDITOR)
INFERENCE = KeyAuthentication(Scope.INFERENCE)
