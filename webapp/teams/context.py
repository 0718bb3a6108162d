"""Context processor for the member's team and role."""

from __future__ import annotations

from django.http import HttpRequest


def build_team_context(request: HttpRequest) -> dict[str, object]:
    """Provide ``access`` and ``team`` to every template; both are None outside a team's pages."""
    access = getattr(request, "access", None)
    return {"access": access, "team": access.team if access else None}
