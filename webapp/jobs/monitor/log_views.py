"""The log of a job: search, filters, pages, live updates, links to lines and a text file."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from operator import or_

from django.core.paginator import Paginator
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from webapp.core.http import HtmxRequest
from webapp.core.input_checks import GREATEST, parse_whole_number
from webapp.core.streaming import stream_lazily
from webapp.jobs.models import Job, JobEvent
from webapp.jobs.states import TERMINAL
from webapp.jobs.templatetags.joblog import describe_line, line_level
from webapp.teams.access import Access, member

PAGE_LINES = 200
OLDEST = "oldest"
ORDERS = [("", "Newest first"), (OLDEST, "Oldest first")]
KINDS = ("log", "state", "request", "phase", "error", "checkpoint", "evaluation", "alarm")
ERRORS = Q(kind="error") | Q(data__level="error")
LEVELS = {"problems": ERRORS | Q(kind="alarm") | Q(data__level="warning"), "errors": ERRORS}
LEVEL_NAMES = [("", "Everything"), ("problems", "Warnings and errors"), ("errors", "Errors")]
SEARCHED = ("message", "state", "phase", "stage")  # keys of JobEvent.data


def select_lines(job: Job, level: str = "", text: str = "", oldest: bool = False) -> QuerySet[JobEvent]:
    """Return lines of at least this level with this text, newest first or ``oldest`` first."""
    lines = job.events.filter(LEVELS.get(level, Q()), kind__in=KINDS).order_by("pk" if oldest else "-pk")
    if text:
        lines = lines.filter(reduce(or_, (Q(**{f"data__{name}__icontains": text}) for name in SEARCHED)))
    return lines


def _find_page_number(lines: QuerySet[JobEvent], number: str, line: str, oldest: bool) -> str | int:
    """Return the requested number, or the page that has the line now: newer lines move it."""
    line_id = parse_whole_number(line, GREATEST)
    if number or line_id is None:
        return number or 1
    before = Q(pk__lt=line_id) if oldest else Q(pk__gt=line_id)
    return lines.filter(before).count() // PAGE_LINES + 1


@member()
@require_GET
def page(request: HtmxRequest, access: Access, uid: str) -> HttpResponse:
    """The log. ``order=oldest`` reverses it, ``line`` marks one, ``follow=off`` stops updates."""
    job = access.get(Job.objects.with_cursor().select_related("team"), uid=uid)
    level, text, line = (request.GET.get(name, "").strip() for name in ("level", "q", "line"))
    oldest = request.GET.get("order") == OLDEST
    lines = select_lines(job, level, text, oldest)
    number = _find_page_number(lines, request.GET.get("page", ""), line, oldest)
    page_lines = Paginator(lines, PAGE_LINES).get_page(number)
    live = job.state not in TERMINAL
    first_page = page_lines.number == 1 and not oldest and not line
    context = {
        "job": job,
        "page": page_lines,
        "level": level,
        "levels": LEVEL_NAMES,
        "text": text,
        "order": OLDEST if oldest else "",
        "orders": ORDERS,
        "marked": line,
        "live": live,
        "following": live and first_page and request.GET.get("follow") != "off",
    }
    part = "#lines" if request.htmx.target == "log-lines" else ""
    return render(request, f"jobs/log.html{part}", context)


@member()
@require_GET
def download(request: HttpRequest, access: Access, uid: str) -> HttpResponseBase:
    """The log as a text file, oldest line first, with the page's filters."""
    job = access.get(Job.objects.all(), uid=uid)
    level, text = (request.GET.get(name, "").replace("\x00", "").strip() for name in ("level", "q"))
    lines = select_lines(job, level, text, oldest=True).iterator(PAGE_LINES)
    headers = {"Content-Disposition": f'attachment; filename="{job.uid}-log.txt"'}
    content_type = "text/plain; charset=utf-8"
    return StreamingHttpResponse(
        stream_lazily(_format_lines(lines)), content_type=content_type, headers=headers
    )


def _format_lines(lines: Iterator[JobEvent]) -> Iterator[str]:
    """Time in UTC, level of a warning or error, text."""
    for line in lines:
        level = line_level(line)
        prefix = f"{level}: " if level else ""
        yield f"{line.created_at:%Y-%m-%dT%H:%M:%SZ} {prefix}{describe_line(line)}\n"
