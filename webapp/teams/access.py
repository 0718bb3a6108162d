"""The only door from a request to a team's object. A stranger sees a 404, never a 403."""

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
class Access:
    """A signed-in member inside one team."""

    user: User
    team: Team
    role: Role
    teams: tuple[Team, ...] = ()  # all that the member is in, for the team switcher
    checklist_hidden: bool = False  # whether the member dismissed the first steps

    def may(self, role: Role) -> bool:
        """Whether the member's role includes ``role``."""
        return RANK[self.role] >= RANK[role]

    def require(self, role: Role) -> None:
        """Raises PermissionDenied, with words for the member, unless the role includes ``role``."""
        if not self.may(role):
            raise PermissionDenied(f"This needs the role of {role.label.lower()} in {self.team.name}.")

    @property
    def can_edit(self) -> bool:
        return self.may(Role.EDITOR)

    @property
    def can_own(self) -> bool:
        return self.may(Role.OWNER)

    def get(self, objects: QuerySet[M], **lookup: object) -> M:
        """The one object of this team that matches, or a 404. ``objects`` must have a ``team``."""
        return get_object_or_404(objects, team=self.team, **lookup)


def require_user(request: HttpRequest) -> User:
    """The request's user. Raises Http404 for a stranger."""
    if not isinstance(request.user, User):
        raise Http404
    return request.user


def find_access(user: User, team_slug: str) -> Access:
    """What ``user`` may do in the team. Raises Http404 unless a member."""
    memberships = list(Membership.objects.filter(user=user).select_related("team").order_by("team__name"))
    found = next((each for each in memberships if each.team.slug == team_slug), None)
    if found is None:
        raise Http404
    teams = tuple(each.team for each in memberships)
    return Access(user, found.team, Role(found.role), teams, found.checklist_hidden)


def member(
    role: Role = Role.VIEWER,
) -> Callable[[Callable[Concatenate[HtmxRequest, Access, P], R]], Callable[..., HttpResponseBase]]:
    """Wrap a view ``(request, access, …)`` for addresses with ``<slug:team>``.

    Signs a stranger in first, hides the team from non-members (404), refuses too small a role (403).
    """

    def decorate(view: Callable[Concatenate[HtmxRequest, Access, P], R]) -> Callable[..., HttpResponseBase]:
        @login_required
        @wraps(view)
        def guarded(request: HtmxRequest, team: str, *args: P.args, **kwargs: P.kwargs) -> R:
            access = find_access(require_user(request), team)
            access.require(role)
            request.access = access  # type: ignore[attr-defined]
            return view(request, access, *args, **kwargs)

        return guarded

    return decorate
