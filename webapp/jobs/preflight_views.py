"""The page of a job's preflight."""

from __future__ import annotations

import json

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from webapp.teams.access import Access, member

from . import preflight
from .views import all_jobs


@member()
@require_GET
def page(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """The advice first, then what it follows from."""
    job = access.get(all_jobs(), uid=uid)
    cursor = job.cursor()
    if job.preflight is None:  # it may have come just before the cursor
        job.refresh_from_db(fields=["preflight"])
    context = {"job": job, "report": job.preflight, "cursor": cursor}
    if report := job.preflight:
        context |= {
            "title": preflight.TITLES[report["verdict"]],
            "bars": preflight.bars(report),
            "curve": json.dumps(preflight.curve(report)),
            "group_size": str(job.settings["grpo"]["group_size"]),
            "enough": preflight.enough(report),
            "outcomes": preflight.outcomes(job),
        }
    return render(request, "jobs/preflight.html", context)
