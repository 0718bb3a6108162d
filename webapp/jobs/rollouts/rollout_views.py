"""Pages of rollouts."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.template.loader import render_to_string
from django.views.decorators.http import require_GET, require_POST

from webapp.core.http import HtmxRequest
from webapp.graders.definitions.error_labels import ERROR_LABELS
from webapp.jobs.models import Job, SavedView
from webapp.jobs.monitor import health
from webapp.jobs.rollouts import detail, diff, saved_views, search
from webapp.jobs.rollouts.references import JobRows
from webapp.teams.access import Access, member
from webapp.teams.models import Role


@member()
@require_GET
def page(request: HtmxRequest, access: Access, uid: str) -> HttpResponse:
    """The rollouts found; htmx asks how many came ``beyond`` the step that the page was drawn at."""
    job = access.get(Job.objects.with_cursor().select_related("team", "dataset_version"), uid=uid)
    query, after = search.asked(request.GET), request.GET.get("after", "")
    found = search.find(job, query)
    context: dict[str, Any] = {"job": job, "query": query, "asked": urlencode(query), "after": after}
    if request.htmx.target == "newer":
        context["newer"] = search.newer(found, request.GET.get("beyond", ""))
        return render(request, "jobs/rollouts.html#newer", context)
    shown = search.page_after(found, after)
    rows = JobRows(job)
    context |= {
        "runs": search.runs(job, shown.rollouts),
        "requests": rows.requests(shown.rollouts),
        "onward": shown.onward,
        "count": shown.count,
        "order": found.order,
        "orders": [(key, order.label) for key, order in search.ORDERS.items()],
        "errors": ERROR_LABELS.items(),
        "tasks": job.tasks.all(),
        "saved": access.team.saved_views.all(),
        "alarm_message": health.message_of(query["alarm"]) if "alarm" in query else "",
        "following": job.live and not after,
        "beyond": search.latest_step(job),
    }
    return render(request, "jobs/rollouts.html", context)


@member()
@require_GET
def rollout(request: HttpRequest, access: Access, uid: str, step: int, index: int) -> HttpResponse:
    """A rollout beside its whole group, held against another answer, and its prompt through the steps.

    With the filters it was found by in the address, it leads to the matches before and after it.
    """
    job = access.get(Job.objects.select_related("team", "tuned_model"), uid=uid)
    shown = get_object_or_404(
        job.rollouts.select_related(
            "job__team", "job__dataset_version__dataset__team", "job__grader_version__grader"
        ),
        step=step,
        index=index,
    )
    group, frames = detail.group_of(shown), detail.strip(shown)
    before, after = detail.neighbours(shown)
    choices = diff.choices_against(shown, group, frames)
    rows = JobRows(shown.job)
    row = rows.find([shown.row_id]).get(shown.row_id)
    wanted, query = request.GET.get("against"), search.asked(request.GET)
    context = {
        "job": job,
        "shown": shown,
        "asked": urlencode(query),
        "around": search.around(search.find(job, query), shown) if query else None,
        "data_row": rows.url(shown.row_id),
        "row": row,
        "reference": rows.reference(shown.row_id, row) if row else None,
        "judged": rows.is_judged(shown.row_id),
        "group": group,
        "best": detail.best_of(group),
        "before": before,
        "after": after,
        "frames": frames,
        "choices": choices,
        "against": next((each for each in choices if each.name == wanted), choices[0] if choices else None),
        "without_base": diff.without_base(shown, choices),
    }
    return render(request, "jobs/rollout.html", context)


@member(Role.EDITOR)
@require_POST
def save(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """Keep the filters under a name, for the whole team."""
    job = access.get(Job.objects.all(), uid=uid)
    query = request.POST.get("query", "")
    try:
        view = saved_views.save_view(access.team, access.user, request.POST.get("name", ""), query)
        messages.success(request, f"Saved as “{view.name}”: it stands on the rollouts page of every job.")
    except ValueError as error:
        messages.error(request, str(error))
    return _back_to(job, request.POST.get("back", query))


@member(Role.EDITOR)
@require_POST
def forget(request: HttpRequest, access: Access, uid: str, view: int) -> HttpResponse:
    """Remove a saved view; the message that says so can bring it back."""
    job = access.get(Job.objects.all(), uid=uid)
    found = access.get(SavedView.objects.all(), pk=view)
    saved_views.forget_view(found, access.user)
    back = request.POST.get("back", "")
    said = {"view": found, "job": job, "team": access.team, "back": back}
    messages.success(request, render_to_string("jobs/view_removed.html", said, request))
    return _back_to(job, back)


def _back_to(job: Job, query: str) -> HttpResponse:
    return redirect(f"{job.get_absolute_url()}rollouts/?{saved_views.asked_in(query)}")
