"""Pages that belong to no team."""

from __future__ import annotations

from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render

from webapp.teams.access import require_user


def show_index(request: HttpRequest) -> HttpResponse:
    """The front door: a welcome for strangers, the first team for members."""
    if not request.user.is_authenticated:
        return render(request, "welcome.html")
    team = require_user(request).teams.order_by("id").first()
    return redirect(team) if team else redirect("home:new_team")


def show_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404, in the words of whoever raised it, unless they are Django's own."""
    words = next(iter(exception.args), "")
    told = isinstance(words, str) and not words.endswith("matches the given query.")
    return render(request, "404.html", {"words": words if told else ""}, status=404)


def check_health(request: HttpRequest) -> JsonResponse:
    """200 if this process can reach its database."""
    with connection.cursor() as cursor:
        cursor.execute("select 1")
    return JsonResponse({"status": "ok"})
