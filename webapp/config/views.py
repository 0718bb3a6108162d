"""Views outside of teams."""

from __future__ import annotations

from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.csrf import csrf_exempt

from webapp.core.api.errors import build_envelope
from webapp.teams.access import require_user


def show_index(request: HttpRequest) -> HttpResponse:
    """Show a welcome page to anonymous users, and redirect members to their first team."""
    if not request.user.is_authenticated:
        return render(request, "welcome.html")
    team = require_user(request).teams.order_by("id").first()
    return redirect(team) if team else redirect("home:new_team")


def show_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Render a 404 page with the message of the exception, unless it is Django's own."""
    message = next(iter(exception.args), "")
    is_own = isinstance(message, str) and not message.endswith("matches the given query.")
    return render(request, "404.html", {"message": message if is_own else ""}, status=404)


@csrf_exempt
def show_unknown_url(request: HttpRequest) -> JsonResponse:
    """Answer 404 for a URL below ``/v1`` that the API does not have."""
    message = f"Unknown request URL: {request.method} {request.path}. See /docs/api/ for those that exist."
    return JsonResponse(build_envelope(404, message), status=404)


def check_health(request: HttpRequest) -> JsonResponse:
    """Respond with 200 if this process can reach its database."""
    with connection.cursor() as cursor:
        cursor.execute("select 1")
    return JsonResponse({"status": "ok"})
