"""View of a team's settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from webapp.jobs.queue import count_running
from webapp.jobs.rollouts import search
from webapp.teams import services
from webapp.teams.access import Access, member
from webapp.teams.forms import SettingsForm
from webapp.teams.models import Role, Team


@member(Role.OWNER)
def show_settings(request: HttpRequest, access: Access) -> HttpResponse:
    """Show and save the team's settings. Ask before a change deletes rollouts."""
    team = access.team
    running, staff = count_running(team), access.user.is_staff
    form = SettingsForm(request.POST or None, team=team, staff=staff, running=running)
    if not form.is_valid():
        return render(request, "home/settings.html", {"form": form}, status=422 if form.is_bound else 200)
    if "sure" not in request.POST and (jobs := _count_jobs_losing_rollouts(team, form.cleaned_data)):
        return _ask_to_delete(request, team, form.cleaned_data, jobs)
    services.change_settings(team, access.user, form.cleaned_data)
    messages.success(request, "Settings saved.")
    return redirect("home:settings", team.slug)


def _count_jobs_losing_rollouts(team: Team, values: Mapping[str, Any]) -> int:
    """Return the number of jobs that would lose their rollouts."""
    days = values["rollouts_kept_days"]
    if days is None or days == team.rollouts_kept_days:
        return 0
    return search.select_expired_jobs(team, days).count()


def _ask_to_delete(request: HttpRequest, team: Team, values: Mapping[str, Any], jobs: int) -> HttpResponse:
    days, many = values["rollouts_kept_days"], "s" * (jobs != 1)
    context = {
        "title": f"Delete the rollouts of about {jobs} job{many}?",
        "text": f"Jobs that ended more than {days} day{'s' * (days != 1)} ago lose their rollouts within the "
        "next hour, forever. Metrics, evaluations and models stay.",
        "label": "Save and delete",
        "values": {name: "" if value is None else value for name, value in values.items()},
        "back": reverse("home:settings", args=[team.slug]),
    }
    return render(request, "teams/confirm_change.html", context)
