"""Pages of rollouts, and the saved views of their filters."""

from __future__ import annotations

from urllib.parse import urlencode

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.template.loader import render_to_string
from django.views.decorators.http import require_GET, require_POST

from webapp.core.episodes.records import END_LABELS
from webapp.core.http import HtmxRequest
from webapp.core.streaming import stream_lazily
from webapp.graders.definitions.error_labels import ERROR_LABELS
from webapp.jobs.errors import ActionRefused
from webapp.jobs.models import Job, SavedView
from webapp.jobs.monitor import health
from webapp.jobs.rollouts import detail, diff, export, saved_views, search
from webapp.jobs.rollouts.references import JobRows
from webapp.teams.access import Access, member
from webapp.teams.models import Role


@member()
@require_GET
def page(request: HtmxRequest, access: Access, uid: str) -> HttpResponse:
    """The matches of the query. htmx requests the number of matches after step ``beyond``."""
    job = access.get(Job.objects.with_cursor().select_related("team", "dataset_version"), uid=uid)
    query, after = search.read_query(request.GET), request.GET.get("after", "")
    matches = search.search_rollouts(job, query)
    context: dict[str, object] = {
        "job": job,
        "query": query,
        "query_string": urlencode(query),
        "after": after,
    }
    if request.htmx.target == "newer":
        context["newer"] = search.count_newer(matches, request.GET.get("beyond", ""))
        return render(request, "jobs/rollouts.html#newer", context)
    found = search.read_page(matches, after)
    ends = END_LABELS.items() if search.has_episodes(job) else []
    context |= {
        "runs": search.group_runs(job, found.rollouts),
        "requests": JobRows(job).find_requests(found.rollouts),
        "next_after": found.next_after,
        "count": found.count,
        "order": matches.order,
        "orders": [(key, order.label) for key, order in search.ORDERS.items()],
        "errors": ERROR_LABELS.items(),
        "ends": ends,
        "tools": search.list_recent_tools(job) if ends else [],
        "tasks": job.tasks.all(),
        "saved": access.team.saved_views.all(),
        "alarm_message": health.find_rule_message(query["alarm"]) if "alarm" in query else "",
        "following": job.live and not after,
        "beyond": search.find_latest_step(job),
    }
    return render(request, "jobs/rollouts.html", context)


@member()
@require_GET
def download(request: HttpRequest, access: Access, uid: str) -> HttpResponseBase:
    """Download the matches of the query as JSON Lines."""
    job = access.get(Job.objects.all(), uid=uid)
    matches = search.search_rollouts(job, search.read_query(request.GET))
    headers = {"Content-Disposition": f'attachment; filename="{job.uid}-rollouts.jsonl"'}
    lines = stream_lazily(export.write_lines(matches))
    return StreamingHttpResponse(lines, content_type="application/jsonl; charset=utf-8", headers=headers)


@member()
@require_GET
def rollout(request: HttpRequest, access: Access, uid: str, step: int, index: int) -> HttpResponse:
    """A rollout with its group, a diff to another completion, and its prompt at other steps.

    If the URL has the filters that found the rollout, the page links to the matches before and after.
    """
    job = access.get(Job.objects.select_related("team", "tuned_model"), uid=uid)
    shown = get_object_or_404(
        job.rollouts.select_related(
            "job__team", "job__dataset_version__dataset__team", "job__grader_version__grader"
        ),
        step=step,
        index=index,
    )
    group, steps = detail.list_group(shown), detail.list_steps(shown)
    before, after = detail.find_neighbour_groups(shown)
    candidates = list(diff.list_candidates(shown, group, steps))
    rows = JobRows(shown.job)
    row = rows.find([shown.row_id]).get(shown.row_id)
    name, query = request.GET.get("against"), search.read_query(request.GET)
    selected = next((each for each in candidates if each.name == name), next(iter(candidates), None))
    context = {
        "job": job,
        "rollout": shown,
        "query_string": urlencode(query),
        "match": search.locate_match(search.search_rollouts(job, query), shown) if query else None,
        "row_url": rows.url(shown.row_id),
        "row": row,
        "reference": rows.reference(shown.row_id, row) if row else None,
        "judged": rows.is_judged(shown.row_id),
        "group": group,
        "best": detail.find_best(group),
        "before": before,
        "after": after,
        "steps": steps,
        "candidates": candidates,
        "against": selected,
        "parts": selected and selected.find_parting_turn(shown),
        "missing_base": diff.explain_missing_base(shown, candidates),
    }
    return render(request, "jobs/rollout.html", context)


@member(Role.EDITOR)
@require_POST
def save(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """Save the filters under a name, for the whole team."""
    job = access.get(Job.objects.all(), uid=uid)
    query = request.POST.get("query", "")
    try:
        view = saved_views.save_view(access.team, access.user, request.POST.get("name", ""), query)
        messages.success(request, f"Saved as “{view.name}” on the rollouts page of every job.")
    except ActionRefused as error:
        messages.error(request, str(error))
    return _redirect_to_rollouts(job, request.POST.get("back", query))


@member(Role.EDITOR)
@require_POST
def forget(request: HttpRequest, access: Access, uid: str, view: int) -> HttpResponse:
    """Delete a saved view; the message has a button that saves it again."""
    job = access.get(Job.objects.all(), uid=uid)
    found = access.get(SavedView.objects.all(), pk=view)
    saved_views.delete_view(found, access.user)
    back = request.POST.get("back", "")
    context = {"view": found, "job": job, "team": access.team, "back": back}
    messages.success(request, render_to_string("jobs/view_removed.html", context, request))
    return _redirect_to_rollouts(job, back)


def _redirect_to_rollouts(job: Job, query: str) -> HttpResponse:
    return redirect(f"{job.get_absolute_url()}rollouts/?{saved_views.normalize_query(query)}")
