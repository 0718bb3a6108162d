"""The log of a job: searched, filtered, paged, followed, and linked to line by line."""

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
from webapp.jobs.templatetags.joblog import level as level_of
from webapp.jobs.templatetags.joblog import said
from webapp.teams.access import Access, member

LINES = 200
OLDEST = "oldest"
ORDERS = [("", "Newest first"), (OLDEST, "Oldest first")]
KINDS = ("log", "state", "request", "phase", "error", "checkpoint", "evaluation", "alarm")
ERRORS = Q(kind="error") | Q(data__level="error")
LEVELS = {"problems": ERRORS | Q(kind="alarm") | Q(data__level="warning"), "errors": ERRORS}
LEVEL_NAMES = [("", "Everything"), ("problems", "Warnings and errors"), ("errors", "Errors")]
SEARCHED = ("message", "state", "phase", "stage")


def lines_of(job: Job, level: str = "", text: str = "", oldest: bool = False) -> QuerySet[JobEvent]:
    """The job's lines of at least this level and with this text, newest first or ``oldest`` first."""
    lines = job.events.filter(LEVELS.get(level, Q()), kind__in=KINDS).order_by("pk" if oldest else "-pk")
    if text:
        lines = lines.filter(reduce(or_, (Q(**{f"data__{name}__icontains": text}) for name in SEARCHED)))
    return lines


def _number_of_page(lines: QuerySet[JobEvent], asked: str, line: str, oldest: bool) -> str | int:
    """The page asked for; without one the page that holds the line, which moves as newer lines come."""
    newest = parse_whole_number(line, GREATEST)
    if asked or newest is None:
        return asked or 1
    before = Q(pk__lt=newest) if oldest else Q(pk__gt=newest)
    return lines.filter(before).count() // LINES + 1


@member()
@require_GET
def page(request: HtmxRequest, access: Access, uid: str) -> HttpResponse:
    """Newest first, or ``order=oldest``; ``line`` finds the page of one line, ``follow=off`` stands still."""
    job = access.get(Job.objects.with_cursor().select_related("team"), uid=uid)
    level, text, line = (request.GET.get(name, "").strip() for name in ("level", "q", "line"))
    oldest = request.GET.get("order") == OLDEST
    lines = lines_of(job, level, text, oldest)
    number = _number_of_page(lines, request.GET.get("page", ""), line, oldest)
    shown = Paginator(lines, LINES).get_page(number)
    live = job.state not in TERMINAL
    context = {
        "job": job,
        "page": shown,
        "level": level,
        "levels": LEVEL_NAMES,
        "text": text,
        "order": OLDEST if oldest else "",
        "orders": ORDERS,
        "chosen": line,
        "live": live,
        "following": live
        and not oldest
        and shown.number == 1
        and not line
        and request.GET.get("follow") != "off",
    }
    part = "#lines" if request.htmx.target == "log-lines" else ""
    return render(request, f"jobs/log.html{part}", context)


@member()
@require_GET
def download(request: HttpRequest, access: Access, uid: str) -> HttpResponseBase:
    """The log as a text file, oldest line first, with the page's filters."""
    job = access.get(Job.objects.all(), uid=uid)
    level, text = (request.GET.get(name, "").replace("\x00", "").strip() for name in ("level", "q"))
    lines = lines_of(job, level, text, oldest=True).iterator(LINES)
    headers = {"Content-Disposition": f'attachment; filename="{job.uid}-log.txt"'}
    content_type = "text/plain; charset=utf-8"
    return StreamingHttpResponse(stream_lazily(_as_text(lines)), content_type=content_type, headers=headers)


def _as_text(lines: Iterator[JobEvent]) -> Iterator[str]:
    """Time in UTC, level if it is a problem, and what the line says."""
    for line in lines:
        level = level_of(line)
        yield f"{line.created_at:%Y-%m-%dT%H:%M:%SZ} {f'{level}: ' if level else ''}{said(line)}\n"
