"""Notices of ended jobs for the browser, which shows them as notifications."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, JsonResponse

from webapp.core.input_checks import GREATEST, parse_whole_number
from webapp.jobs.models import JobNotice
from webapp.jobs.states import State
from webapp.teams.access import require_user

NOTICES = 20


@login_required
def ended_jobs(request: HttpRequest) -> JsonResponse:
    """Return the user's jobs that ended after notice ``after``; without it only the newest id."""
    user = require_user(request)
    notices = JobNotice.objects.filter(user=user, job__team__members=user)  # not of teams that they left
    notices = notices.select_related("job__team").order_by("-id")
    after = parse_whole_number(request.GET.get("after"), GREATEST)
    last = notices.values_list("id", flat=True).first() or 0
    if after is None:
        return JsonResponse({"last": last, "ended": []})
    found = [
        {"title": f"{notice.job.name}: {State(notice.state).label.lower()}", "team": notice.job.team.name,
         "url": notice.job.get_absolute_url(), "failed": notice.state == State.FAILED}
        for notice in notices.filter(id__gt=after)[:NOTICES]
    ]  # fmt: skip
    return JsonResponse({"last": last, "ended": found})
