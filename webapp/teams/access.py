"""Access of a request to a team's objects. Every view uses it.

Non-members get a 404, never a 403.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import get_object_or_404

from webapp.core.http import HtmxRequest
from webapp.teams.models import Membership, Role, Team, User

RANK = {Role.VIEWER: 0, Role.EDITOR: 1, Role.OWNER: 2}
P = ParamSpec("P")
M = TypeVar("M", bound=Model)
R = TypeVar("R", bound=HttpResponseBase)


@dataclass(frozen=True)
class TeamAccess:
    """The rights of a person or of a key in a team."""

    team: Team
    role: Role

    def may(self, role: Role) -> bool:
        """True if this role includes ``role``."""
        return RANK[self.role] >= RANK[role]

    def require(self, role: Role) -> None:
        """Raise PermissionDenied, with a message for the caller, unless this role includes ``role``."""
        if not self.may(role):
            raise PermissionDenied(f"This needs the role of {role.label.lower()} in {self.team.name}.")

    @property
    def can_edit(self) -> bool:
        return self.may(Role.EDITOR)

    @property
    def can_own(self) -> bool:
        return self.may(Role.OWNER)

    def get(self, objects: QuerySet[M], **lookup: object) -> M:
        """Return the matching object of this team, or raise Http404.

        ``objects`` must have a ``team``.
        """
        return get_object_or_404(objects, team=self.team, **lookup)


@dataclass(frozen=True)
class Access(TeamAccess):
    """A signed-in member of a team."""

    user: User
    teams: tuple[Team, ...] = ()  # all teams of the member, for the team switcher
    checklist_hidden: bool = False  # the member hid the first steps


def require_user(request: HttpRequest) -> User:
    """Return the request's user. Raises Http404 without one."""
    if not isinstance(request.user, User):
        raise Http404
    return request.user


def find_access(user: User, team_slug: str) -> Access:
    """Return the access of ``user`` to the team. Raises Http404 for non-members."""
    memberships = list(Membership.objects.filter(user=user).select_related("team").order_by("team__name"))
    found = next((each for each in memberships if each.team.slug == team_slug), None)
    if found is None:
        raise Http404
    teams = tuple(each.team for each in memberships)
    return Access(found.team, Role(found.role), user, teams, found.checklist_hidden)


def member(
    role: Role = Role.VIEWER,
) -> Callable[[Callable[Concatenate[HtmxRequest, Access, P], R]], Callable[..., HttpResponseBase]]:
    """Wrap a view ``(request, access, …)`` for URLs with ``<slug:team>``.

    Redirects anonymous users to sign in, raises 404 for non-members, 403 for a lower role.
    """

    def decorate(view: Callable[Concatenate[HtmxRequest, Access, P], R]) -> Callable[..., HttpResponseBase]:
        @login_required
        @wraps(view)
        def check_access(request: HtmxRequest, team: str, *args: P.args, **kwargs: P.kwargs) -> R:
            access = find_access(require_user(request), team)
            access.require(role)
            request.access = access  # type: ignore[attr-defined]
            return view(request, access, *args, **kwargs)

        return check_access

    return decorate
