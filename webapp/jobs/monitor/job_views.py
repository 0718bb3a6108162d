"""Pages of jobs."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from webapp.core.http import HtmxRequest
from webapp.core.streaming import format_csv, stream_lazily
from webapp.jobs import checkpoints, services
from webapp.jobs.errors import WrongState
from webapp.jobs.launch import placement
from webapp.jobs.listing import selection
from webapp.jobs.models import Job
from webapp.jobs.monitor import charts, config_export, health, log_views, phases, presenters
from webapp.jobs.monitor.metrics import series, table
from webapp.teams.access import Access, member
from webapp.teams.models import Role, User
from webapp.work import nodes

REDRAWN = ("head", "health", "evaluations", "checkpoints", "lines")
PARTS = {f"job-{part}": f"jobs/detail.html#{part}" for part in REDRAWN} | {
    "job-actions": "jobs/actions.html",
    "chooser": "jobs/chooser.html",
}


def all_jobs() -> QuerySet[Job]:
    """Jobs with what their pages show besides."""
    return Job.objects.with_cursor().select_related(
        "team",
        "base_model",
        "dataset_version__dataset__team",
        "grader_version__grader__team",
        "held_out_grader__grader__team",
        "initial_adapter__team",
        "interference_of__team",
        "control_of__team",
        "node",
        "tuned_model__team",
        "cloned_from__team",
        "promoted_from__team",
    )


# --- one job -------------------------------------------------------------------------------------


@member()
@require_GET
def detail(request: HtmxRequest, access: Access, uid: str) -> HttpResponse:
    """The job's page; htmx asks for the part that something happened to."""
    job = access.get(all_jobs(), uid=uid)
    if query := selection.spelt_out(access.team, request.GET, "with"):
        return redirect(f"{job.get_absolute_url()}?{query}")
    evaluations = list(job.evaluations.all())
    drawn = selection.chosen(access.team, request.GET, "with")
    position, steps = services.queue_position(job), phases.stepper(job)
    context = charts.drawn([job, *drawn], selection.baseline(drawn)) | {
        "job": job,
        "steps": steps,
        "worked": sum(step.seconds or 0.0 for step in steps),
        "strip": health.strip(job, evaluations),
        "position": position,
        "waiting": placement.explain_waiting(job, position) if position else "",
        "evaluations": evaluations,
        "tasks": presenters.task_shares(job),
        "confidence": presenters.confidence(job),
        "checkpoints": checkpoints.list_checkpoints(job, evaluations),
        "field": "with",
        **selection.offered(access.team, drawn, request.GET, but=job),
        "usage": nodes.find_usage(job.node, job.devices),
        "lines": reversed(log_views.lines_of(job)[:8]),
    }
    return render(request, PARTS.get(request.htmx.target or "", "jobs/detail.html"), context)


@member()
@require_GET
def metrics(request: HttpRequest, access: Access, uid: str) -> HttpResponseBase:
    """The job's numbers as JSON, or as CSV with ``?format=csv``; ``name`` chooses, ``with`` adds jobs."""
    job = access.get(Job.objects.all(), uid=uid)
    if request.GET.get("format") != "csv":
        return JsonResponse(series(job, _weight(request.GET.get("smooth", ""))))
    jobs = [job, *selection.chosen(access.team, request.GET, "with")]
    lines = format_csv(table(jobs, request.GET.getlist("name")))
    headers = {"Content-Disposition": f'attachment; filename="{job.uid}.csv"'}
    return StreamingHttpResponse(stream_lazily(lines), content_type="text/csv", headers=headers)


def _weight(text: str) -> float:
    """How much a moving average keeps of what was before, 0 to 0.99; 0 for what is no number."""
    try:
        weight = float(text)
    except ValueError:
        return 0.0
    return min(weight, 0.99) if weight > 0 else 0.0


@member()
@require_GET
def config(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    job = access.get(all_jobs(), uid=uid)
    source = job.cloned_from
    context = {
        "job": job,
        "writings": config_export.writings(job),
        "source": source,
        "differences": presenters.differences(source.settings, job.settings) if source else [],
    }
    return render(request, "jobs/config.html", context)


Service = Callable[[Job, User], None]


def act(request: HttpRequest, access: Access, uid: str, service: Service, said: str) -> HttpResponse:
    """Does something to a job and goes back to its page, with a word on how it went."""
    job = access.get(all_jobs(), uid=uid)
    try:
        service(job, access.user)
    except WrongState as error:
        messages.error(request, str(error))
    else:
        messages.success(request, said)
    return redirect(job)


@member(Role.EDITOR)
@require_POST
def cancel(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    return act(request, access, uid, services.request_cancel, "Cancelled. Its checkpoints stay.")


@member(Role.EDITOR)
@require_POST
def pause(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    return act(request, access, uid, services.request_pause, "Pausing: a checkpoint is written first.")


@member(Role.EDITOR)
@require_POST
def finish(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    return act(request, access, uid, services.request_finish, "Finishing: evaluation follows the last step.")


@member(Role.EDITOR)
@require_POST
def resume(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    return act(request, access, uid, services.resume_job, "Queued; it goes on from its last checkpoint.")


@member(Role.EDITOR)
@require_POST
def rename(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    job = access.get(Job.objects.select_related("team"), uid=uid)
    try:
        services.rename(job, access.user, request.POST.get("name", ""))
    except ValueError as error:
        messages.error(request, str(error))
    return redirect(job)
