"""Views of a team's audit trail."""

from __future__ import annotations

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.views.decorators.http import require_GET

from webapp.core.streaming import format_csv, stream_lazily
from webapp.teams import audit as audit_trail
from webapp.teams.access import Access, member
from webapp.teams.models import Role

AUDIT_ROWS = 50


@member(Role.OWNER)
@require_GET
def audit(request: HttpRequest, access: Access) -> HttpResponse:
    """List audit events, filtered by person, text or days."""
    page = Paginator(audit_trail.find_events(access.team, request.GET), AUDIT_ROWS).get_page(
        request.GET.get("page")
    )
    query = request.GET.dict()
    filtered = any(query.get(name) for name in ("who", "text", "since", "until"))
    context = {
        "page": page,
        "people": audit_trail.list_people(access.team),
        "query": query,
        "filtered": filtered,
    }
    return render(request, "teams/audit.html", context)


@member(Role.OWNER)
@require_GET
def audit_csv(request: HttpRequest, access: Access) -> HttpResponseBase:
    """Download the filtered events as CSV."""
    lines = format_csv(audit_trail.export_rows(audit_trail.find_events(access.team, request.GET)))
    headers = {"Content-Disposition": f'attachment; filename="audit-{access.team.slug}.csv"'}
    return StreamingHttpResponse(stream_lazily(lines), content_type="text/csv", headers=headers)
