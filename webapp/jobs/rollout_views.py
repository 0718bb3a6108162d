"""Pages of rollouts."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_POST

from webapp.teams.access import Access, member
from webapp.teams.models import Role

from . import health, rollouts
from .models import Job, SavedView


@member()
@require_GET
def page(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    job = access.get(Job.objects.select_related("team"), uid=uid)
    query = {key: str(value) for key, value in request.GET.items() if value}
    after = query.pop("after", "")
    found = rollouts.filtered(job, query)
    shown = rollouts.page_after(found, after)
    asked = request.GET.copy()
    asked.pop("after", None)
    context = {
        "job": job,
        "page": shown.rollouts,
        "query": query,
        "after": after,
        "onward": shown.onward,
        "count": shown.count,
        "asked": asked.urlencode(),
        "tasks": job.tasks.all(),
        "saved": access.team.saved_views.all(),
        "alarm_message": health.message_of(query["alarm"]) if "alarm" in query else "",
    }
    return render(request, "jobs/rollouts.html", context)


@member()
@require_GET
def rollout(request: HttpRequest, access: Access, uid: str, step: int, index: int) -> HttpResponse:
    """A rollout beside its whole group, held against another answer, and its prompt through the steps."""
    job = access.get(Job.objects.select_related("team"), uid=uid)
    shown = get_object_or_404(
        job.rollouts.select_related("job__team", "job__dataset_version__dataset__team"),
        step=step,
        index=index,
    )
    group, frames = rollouts.group_of(shown), rollouts.strip(shown)
    before, after = rollouts.neighbours(shown)
    choices = rollouts.choices_against(shown, group, frames)
    wanted = request.GET.get("against")
    context = {
        "job": job,
        "shown": shown,
        "data_row": rollouts.data_row(shown),
        "group": group,
        "best": rollouts.best_of(group),
        "before": before,
        "after": after,
        "frames": frames,
        "choices": choices,
        "against": next((each for each in choices if each.name == wanted), choices[0] if choices else None),
    }
    return render(request, "jobs/rollout.html", context)


@member(Role.EDITOR)
@require_POST
def save(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """Keep the filters under a name, for the whole team."""
    job = access.get(Job.objects.all(), uid=uid)
    query = request.POST.get("query", "")
    try:
        view = rollouts.save_view(access.team, access.user, request.POST.get("name", ""), query)
        messages.success(request, f"Saved as “{view.name}”: it stands on the rollouts page of every job.")
    except ValueError as error:
        messages.error(request, str(error))
    return redirect(f"{job.get_absolute_url()}rollouts/?{query}")


@member(Role.EDITOR)
@require_POST
def forget(request: HttpRequest, access: Access, uid: str, view: int) -> HttpResponse:
    """Remove a saved view."""
    job = access.get(Job.objects.all(), uid=uid)
    found = access.get(SavedView.objects.all(), pk=view)
    rollouts.forget_view(found, access.user)
    messages.success(request, f"Removed the view “{found.name}”.")
    return redirect(f"{job.get_absolute_url()}rollouts/")
