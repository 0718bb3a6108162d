"""Pages that belong to no team."""

from __future__ import annotations

from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render

from webapp.teams.access import signed_in


def index(request: HttpRequest) -> HttpResponse:
    """The front door: a welcome for strangers, the first team for members."""
    if not request.user.is_authenticated:
        return render(request, "welcome.html")
    team = signed_in(request).teams.order_by("id").first()
    return redirect(team) if team else redirect("teams:new")


def healthz(request: HttpRequest) -> JsonResponse:
    """200 if this process can reach its database."""
    with connection.cursor() as cursor:
        cursor.execute("select 1")
    return JsonResponse({"status": "ok"})
