"""Pages of a team's settings and of its record."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET

from webapp.config.streaming import csv_lines, streamed
from webapp.jobs import leases, rollouts
from webapp.teams import audit as trail
from webapp.teams import services
from webapp.teams.access import Access, member
from webapp.teams.forms import SettingsForm
from webapp.teams.models import Role, Team

AUDIT_ROWS = 50


@member(Role.OWNER)
def settings(request: HttpRequest, access: Access) -> HttpResponse:
    """The team's name, what it keeps and how much it may run. Asks before rollouts would go."""
    team = access.team
    running, staff = leases.at_once(team), access.user.is_staff
    form = SettingsForm(request.POST or None, team=team, staff=staff, running=running)
    if not form.is_valid():
        return render(request, "teams/settings.html", {"form": form}, status=422 if form.is_bound else 200)
    if "sure" not in request.POST and (jobs := _losing(team, form.cleaned_data)):
        return _ask_to_delete(request, team, form.cleaned_data, jobs)
    services.change_settings(team, access.user, form.cleaned_data)
    messages.success(request, "Saved.")
    return redirect("teams:settings", team.slug)


def _losing(team: Team, values: dict[str, Any]) -> int:
    """How many jobs would lose their rollouts by a change of what is kept."""
    days = values["rollouts_kept_days"]
    if days is None or days == team.rollouts_kept_days:
        return 0
    return rollouts.kept_too_long(team, days).count()


def _ask_to_delete(request: HttpRequest, team: Team, values: dict[str, Any], jobs: int) -> HttpResponse:
    days, many = values["rollouts_kept_days"], "s" * (jobs != 1)
    context = {
        "title": f"Delete the rollouts of about {jobs} job{many}?",
        "text": f"What ended more than {days} day{'s' * (days != 1)} ago loses its rollouts at the next "
        "sweep, for good; metrics, evaluations and models stay.",
        "label": "Save and delete",
        "values": {name: "" if value is None else value for name, value in values.items()},
        "back": reverse("teams:settings", args=[team.slug]),
    }
    return render(request, "teams/sure.html", context)


@member(Role.OWNER)
@require_GET
def audit(request: HttpRequest, access: Access) -> HttpResponse:
    """Who did what, cut to a person, words or days."""
    page = Paginator(trail.events(access.team, request.GET), AUDIT_ROWS).get_page(request.GET.get("page"))
    query = request.GET.dict()
    filtered = any(query.get(name) for name in ("who", "text", "since", "until"))
    context = {"page": page, "people": trail.people(access.team), "query": query, "filtered": filtered}
    return render(request, "teams/audit.html", context)


@member(Role.OWNER)
@require_GET
def audit_csv(request: HttpRequest, access: Access) -> HttpResponseBase:
    """The same as a file."""
    lines = csv_lines(trail.rows(trail.events(access.team, request.GET)))
    headers = {"Content-Disposition": f'attachment; filename="audit-{access.team.slug}.csv"'}
    return StreamingHttpResponse(streamed(lines), content_type="text/csv", headers=headers)
