"""What every template knows: the member's team and role."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest


def teams(request: HttpRequest) -> dict[str, Any]:
    """``access`` (None outside a team's pages), ``team``, and the member's teams, read where shown."""
    access = getattr(request, "access", None)
    mine = access.user.teams.order_by("name") if access else ()
    return {"access": access, "team": access.team if access else None, "my_teams": mine}
