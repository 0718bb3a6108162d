"""The page of a job's preflight report."""

from __future__ import annotations

import json

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from webapp.core.http import HtmxRequest
from webapp.jobs.monitor import preflight
from webapp.jobs.monitor.job_views import all_jobs
from webapp.teams.access import Access, member

PARTS = {f"preflight-{part}": f"jobs/preflight.html#{part}" for part in ("waiting", "advice", "outcomes")}


@member()
@require_GET
def page(request: HtmxRequest, access: Access, uid: str) -> HttpResponse:
    """The advice, then the measurements behind it, the forecast check and samples."""
    job = access.get(all_jobs(), uid=uid)
    context: dict[str, object] = {"job": job, "report": job.preflight}
    if report := job.preflight:
        context |= {
            "title": preflight.TITLES[report.verdict],
            "bars": preflight.build_histogram(report),
            "curve": json.dumps(preflight.build_pass_curve(report)),
            "group_size": str(job.settings.grpo.group_size),
            "sufficient": preflight.find_sufficient_size(report),
            "outcomes": preflight.check_forecast(job),
            "samples": preflight.list_samples(job),
        }
    target = request.htmx.target
    response = render(request, PARTS.get(target or "", "jobs/preflight.html"), context)
    if target == "preflight-waiting" and job.preflight:
        response["HX-Refresh"] = "true"
    return response
