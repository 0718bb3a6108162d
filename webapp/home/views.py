"""Views of a team's home: overview, first steps, command palette, and a new team."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from webapp.core.http import HtmxRequest
from webapp.home import overview, palette
from webapp.home.onboarding import build_first_steps, find_next_step
from webapp.home.sample_project import create_sample_project
from webapp.teams import services
from webapp.teams.access import Access, member, require_user
from webapp.teams.forms import TeamForm
from webapp.teams.models import Role


@login_required
def new_team(request: HttpRequest) -> HttpResponse:
    """Create a team."""
    form = TeamForm(request.POST or None)
    if form.is_valid():
        user = require_user(request)
        with transaction.atomic():
            team = services.create_team(user, form.cleaned_data["name"])
            if form.cleaned_data["sample"]:
                create_sample_project(team, user)
        return redirect(team)
    return render(request, "home/new_team.html", {"form": form}, status=422 if form.is_bound else 200)


@member()
def show_overview(request: HttpRequest, access: Access) -> HttpResponse:
    """Show running jobs, results and the next step. All but the heading refreshes by itself."""
    team = access.team
    counts = overview.count_objects(team)
    results, attention = overview.list_results(team, counts), overview.find_attention(team, counts)
    first = build_first_steps(team, counts)
    to_do = next((step for step in first if not step.done), None)
    checklist = to_do is not None and not access.checklist_hidden
    context = {
        "counts": counts,
        "tiles": overview.build_tiles(team, counts),
        "steps": first,
        "first_step": to_do,
        "checklist": checklist,
        "next": find_next_step(team, first, results) if access.can_edit and not checklist else None,
        "attention": attention,
        "more_attention": overview.count_more_attention(counts, attention),
        "running": overview.list_running(team),
        "results": results,
    }
    is_fragment = request.headers.get("HX-Target") == "live"
    return render(request, "home/overview.html#live" if is_fragment else "home/overview.html", context)


@member()
@require_POST
def hide_checklist(request: HttpRequest, access: Access) -> HttpResponse:
    """Hide the first steps for this member, or show them again (``show=1``)."""
    shown = request.POST.get("show") == "1"
    access.team.memberships.filter(user=access.user).update(checklist_hidden=not shown)
    return redirect(access.team)


@member(Role.EDITOR)
@require_POST
def add_sample(request: HttpRequest, access: Access) -> HttpResponse:
    """Add the sample project."""
    create_sample_project(access.team, access.user)
    messages.success(request, "The sample dataset and grader were added.")
    return redirect(access.team)


@member()
def search(request: HtmxRequest, access: Access) -> HttpResponse:
    """Return the command palette's results, or without htmx a page of them."""
    text = request.GET.get("q", "")
    context = {"q": text, "groups": palette.find_entries(access, text)}
    part = "#results" if request.htmx else ""
    return render(request, f"home/search.html{part}", context)
