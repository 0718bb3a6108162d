"""What every template knows: the member's team and role."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest


def build_team_context(request: HttpRequest) -> dict[str, Any]:
    """``access`` (None outside a team's pages) and ``team``."""
    access = getattr(request, "access", None)
    return {"access": access, "team": access.team if access else None}
