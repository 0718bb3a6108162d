"""The list of jobs: filters, columns, actions on several jobs, deletion and restoring."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from webapp.calibration import services as calibration
from webapp.core import deletion
from webapp.core.http import HtmxRequest
from webapp.jobs.errors import ActionRefused
from webapp.jobs.listing import bulk_actions, filters, removal, tags
from webapp.jobs.models import Job
from webapp.jobs.monitor import presenters
from webapp.jobs.monitor.openings import jobs_with_openings
from webapp.teams.access import Access, member
from webapp.teams.models import Role, User


@member()
@require_GET
def job_list(request: HtmxRequest, access: Access) -> HttpResponse:
    """The team's jobs; htmx asks for the table again while some of them change."""
    page, context = filters.build_context(access.team, request.GET)
    jobs = list(page)
    presenters.add_results(jobs)
    context |= {
        "jobs": jobs,
        "columns": filters.list_columns(access.user),
        "offered_columns": filters.COLUMNS.items(),
        "actions": bulk_actions.ACTIONS.items(),
        "uncalibrated": calibration.find_uncalibrated(access.team, [job.grader_version for job in jobs]),
        "test_opened": jobs_with_openings(jobs),
        "undo": deletion.find_undoable(removal.list_restorable(access.team), request.GET),
    }
    part = "#table" if request.htmx.target == "job-table" else ""
    return render(request, f"jobs/list.html{part}", context)


@member()
@require_POST
def columns(request: HttpRequest, access: Access) -> HttpResponse:
    """Save the columns that the user wants to see in the list."""
    selected = [name for name in filters.COLUMNS if name in request.POST.getlist("column")]
    User.objects.filter(pk=access.user.pk).update(job_columns=selected)
    query = request.POST.get("query", "")
    return redirect(f"{reverse('jobs:list', args=[access.team.slug])}{f'?{query}' if query else ''}")


@member()
@require_GET
def deleted(request: HttpRequest, access: Access) -> HttpResponse:
    """The team's deleted jobs, to restore."""
    jobs = removal.list_restorable(access.team)
    return deletion.render_deleted(request, "jobs/deleted.html", jobs, days=removal.KEPT_DAYS)


@member(Role.EDITOR)
@require_http_methods(["GET", "POST"])
def change_several(request: HttpRequest, access: Access) -> HttpResponse:
    """Ask for confirmation of an action on the selected jobs; a POST applies it."""
    sent = request.POST if request.method == "POST" else request.GET
    name, jobs = sent.get("do", ""), bulk_actions.select_jobs(access.team, sent.getlist("job"))
    home = redirect("jobs:list", access.team.slug)
    action = bulk_actions.ACTIONS.get(name)
    if action is None or not jobs:
        messages.warning(request, "Select one or more jobs in the list, then an action.")
        return home
    problem = ""
    if request.method == "POST":
        try:
            done, refused = bulk_actions.apply_action(
                name, jobs, access.user, sent.get("add", ""), sent.get("remove", "")
            )
        except ActionRefused as error:
            problem = str(error)
        else:
            return _redirect_with_result(request, access, action, done, refused)
    allowed = [(job, action.refusal(job)) for job in jobs]
    context = {
        "do": name,
        "action": action,
        "allowed": allowed,
        "possible": sum(not reason for _, reason in allowed),
        "known_tags": tags.list_tags(access.team),
        "problem": problem,
        "sent": sent,
    }
    return render(request, "jobs/bulk.html", context, status=422 if problem else 200)


def _redirect_with_result(
    request: HttpRequest, access: Access, action: bulk_actions.Action, done: list[Job], refused: list[str]
) -> HttpResponseRedirect:
    """Redirect to the list with messages about the changed and the unchanged jobs."""
    for reason in refused:
        messages.warning(request, reason)
    url = reverse("jobs:list", args=[access.team.slug])
    if done and action is bulk_actions.ACTIONS["delete"]:
        return deletion.redirect_to_undo(url, [job.uid for job in done])
    if done:
        messages.success(request, f"{action.done} {len(done)} job{'s' * (len(done) != 1)}.")
    return HttpResponseRedirect(url)


@member(Role.EDITOR)
@require_POST
def delete(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """Hides the job and shows the list, with a button that undoes it."""
    job = access.get(Job.objects.alive().select_related("team"), uid=uid)
    try:
        removal.delete_job(job, access.user)
    except deletion.RemovalRefused as error:
        messages.error(request, str(error))
        return redirect(job)
    return deletion.redirect_to_undo(reverse("jobs:list", args=[access.team.slug]), [job.uid])


@member(Role.EDITOR)
@require_POST
def restore(request: HttpRequest, access: Access) -> HttpResponse:
    """Shows deleted jobs again, those that ``job`` names."""
    jobs = list(removal.list_restorable(access.team).filter(uid__in=request.POST.getlist("job")))
    for job in jobs:
        removal.restore_job(job, access.user)
    if not jobs:
        return redirect("jobs:deleted", access.team.slug)
    messages.success(request, f"Restored {', '.join(f'“{job.name}”' for job in jobs)}.")
    return redirect(jobs[0]) if len(jobs) == 1 else redirect("jobs:list", access.team.slug)
