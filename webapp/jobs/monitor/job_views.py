"""Pages of one job: overview, metrics and configuration."""

from __future__ import annotations

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET

from webapp.core.http import HtmxRequest
from webapp.core.streaming import format_csv, stream_lazily
from webapp.jobs import checkpoints, services
from webapp.jobs.launch import placement
from webapp.jobs.listing import selection
from webapp.jobs.models import Job
from webapp.jobs.monitor import charts, config_export, health, log_views, phases, presenters
from webapp.jobs.monitor.metrics import build_table, read_series
from webapp.teams.access import Access, member
from webapp.work import nodes

LIVE_PARTS = ("head", "health", "evaluations", "checkpoints", "lines")
PARTS = {f"job-{part}": f"jobs/detail.html#{part}" for part in LIVE_PARTS} | {
    "job-actions": "jobs/actions.html",
    "chooser": "jobs/chooser.html",
}
LATEST_LINES = 8


def all_jobs() -> QuerySet[Job]:
    """Return jobs with the related rows that their pages show."""
    return Job.objects.with_cursor().select_related(
        "team",
        "base_model",
        "dataset_version__dataset__team",
        "grader_version__grader__team",
        "environment_version__environment__team",
        "held_out_grader__grader__team",
        "initial_adapter__team",
        "interference_of__team",
        "control_of__team",
        "node",
        "tuned_model__team",
        "cloned_from__team",
        "promoted_from__team",
    )


@member()
@require_GET
def detail(request: HtmxRequest, access: Access, uid: str) -> HttpResponse:
    """The job's overview; htmx requests the part that an event concerns."""
    job = access.get(all_jobs(), uid=uid)
    if query := selection.expand_pinned(access.team, request.GET, "with"):
        return redirect(f"{job.get_absolute_url()}?{query}")
    evaluations = list(job.evaluations.all())
    others = selection.select_jobs(access.team, request.GET, "with", own=job)
    position, steps = services.queue_position(job), phases.list_steps(job)
    context = charts.build_charts_context([job, *others], selection.find_baseline(others)) | {
        "job": job,
        "steps": steps,
        "worked": sum(step.seconds or 0.0 for step in steps),
        "strip": health.build_strip(job, evaluations),
        "position": position,
        "waiting": placement.explain_waiting(job, position) if position else "",
        "evaluations": evaluations,
        "tasks": presenters.task_shares(job),
        "confidence": presenters.confidence(job),
        "checkpoints": checkpoints.list_checkpoints(job, evaluations),
        "field": "with",
        **selection.build_chooser_context(access.team, others, request.GET, own=job),
        "usage": nodes.find_usage(job.node, job.devices),
        "lines": reversed(log_views.select_lines(job)[:LATEST_LINES]),
    }
    return render(request, PARTS.get(request.htmx.target or "", "jobs/detail.html"), context)


@member()
@require_GET
def metrics(request: HttpRequest, access: Access, uid: str) -> HttpResponseBase:
    """Metrics as JSON, or with ``format=csv``. ``name`` selects metrics, ``with`` adds jobs."""
    job = access.get(Job.objects.all(), uid=uid)
    if request.GET.get("format") != "csv":
        return JsonResponse(read_series(job, _read_weight(request.GET.get("smooth", ""))))
    jobs = [job, *selection.select_jobs(access.team, request.GET, "with", own=job)]
    lines = format_csv(build_table(jobs, request.GET.getlist("name")))
    headers = {"Content-Disposition": f'attachment; filename="{job.uid}.csv"'}
    return StreamingHttpResponse(stream_lazily(lines), content_type="text/csv", headers=headers)


def _read_weight(text: str) -> float:
    """Weight of earlier values in the moving average, 0 to 0.99; 0 if the text is not a number."""
    try:
        weight = float(text)
    except ValueError:
        return 0.0
    return min(weight, 0.99) if weight > 0 else 0.0  # NaN gives 0, too


@member()
@require_GET
def config(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """The job's configuration, and how it differs from the job that it was cloned from."""
    job = access.get(all_jobs(), uid=uid)
    source = job.cloned_from
    context = {
        "job": job,
        "exports": config_export.export_config(job, request.build_absolute_uri("/v1")),
        "source": source,
        "differences": presenters.differences(source.settings, job.settings) if source else [],
    }
    return render(request, "jobs/config.html", context)
