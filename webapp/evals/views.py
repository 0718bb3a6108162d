"""Views of eval runs: the list, and a run's results by row."""

from __future__ import annotations

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from webapp.core.api.errors import ApiError
from webapp.core.http import HtmxRequest
from webapp.core.listing import ListQuery, Sorts
from webapp.evals import services
from webapp.evals.models import EvalRun, ItemStatus
from webapp.evals.presenters import describe_row, list_criteria
from webapp.teams.access import Access, member
from webapp.teams.models import Role

SORTS: Sorts = {"": ("Newest first", ("-id",)), "oldest": ("Oldest first", ("id",))}
ROWS: Sorts = {"": ("Row", ("number",))}


def _select(access: Access) -> QuerySet[EvalRun]:
    return EvalRun.objects.filter(team=access.team).select_related("team", "eval").defer("rows")


@member()
@require_GET
def list_runs(request: HttpRequest, access: Access) -> HttpResponse:
    """List the runs of all evals."""
    wanted = ListQuery(request.GET, SORTS)
    found = _select(access)
    if text := wanted.filters["q"]:
        found = found.filter(eval__name__icontains=text)
    return render(request, "evals/list.html", {"page": wanted.paginate(found), **wanted.build_context()})


@member()
@require_GET
def show_run(request: HtmxRequest, access: Access, uid: str) -> HttpResponse:
    """Show the counts of a run, and its rows by status."""
    run = access.get(_select(access), uid=uid)
    wanted = ListQuery(request.GET, ROWS, ("status",))
    items = run.items.all()
    if wanted.filters["status"] in ItemStatus:
        items = items.filter(status=wanted.filters["status"])
    page = wanted.paginate(items)
    context = {
        "run": run,
        "criteria": list_criteria(run),
        "page": page,
        "rows": [describe_row(item) for item in page],
        "statuses": ItemStatus.choices,
        **wanted.build_context(),
    }
    return render(request, "evals/run.html" + ("#results" if request.htmx else ""), context)


@member(Role.EDITOR)
@require_POST
def cancel(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """Cancel a run."""
    run = access.get(_select(access), uid=uid)
    try:
        services.cancel_run(run, access.user)
    except ApiError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, "The run was canceled.")
    return redirect(run)
