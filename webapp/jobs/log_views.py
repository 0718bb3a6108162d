"""The log of a job: searched, filtered, paged, followed, and linked to line by line."""

from __future__ import annotations

from functools import reduce
from operator import or_

from django.core.paginator import Paginator
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from webapp.teams.access import Access, member

from .models import Job, JobEvent
from .states import TERMINAL

LINES = 200
KINDS = ("log", "state", "phase", "error", "checkpoint", "evaluation", "alarm")
ERRORS = Q(kind="error") | Q(data__level="error")
LEVELS = {"problems": ERRORS | Q(kind="alarm") | Q(data__level="warning"), "errors": ERRORS}
LEVEL_NAMES = [("", "Everything"), ("problems", "Warnings and errors"), ("errors", "Errors")]
SEARCHED = ("message", "state", "phase", "stage")


def lines_of(job: Job, level: str = "", text: str = "") -> QuerySet[JobEvent]:
    """The job's lines, newest first, of at least this level and with this text."""
    lines = job.events.filter(LEVELS.get(level, Q()), kind__in=KINDS).order_by("-pk")
    if text:
        lines = lines.filter(reduce(or_, (Q(**{f"data__{name}__icontains": text}) for name in SEARCHED)))
    return lines


def _number_of_page(lines: QuerySet[JobEvent], asked: str, line: str) -> str | int:
    """The page asked for; without one the page that holds the line, which moves as newer lines come."""
    if asked or not line.isdecimal():
        return asked or 1
    return lines.filter(pk__gt=int(line)).count() // LINES + 1


@member()
@require_GET
def page(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """Newest first; ``line`` finds the page of one line, ``follow=off`` stands still while the job runs."""
    job = access.get(Job.objects.select_related("team"), uid=uid)
    cursor = job.cursor()
    level, text, line = (request.GET.get(name, "").strip() for name in ("level", "q", "line"))
    lines = lines_of(job, level, text)
    shown = Paginator(lines, LINES).get_page(_number_of_page(lines, request.GET.get("page", ""), line[:18]))
    live = job.state not in TERMINAL
    context = {
        "job": job,
        "page": shown,
        "level": level,
        "levels": LEVEL_NAMES,
        "text": text,
        "chosen": line,
        "live": live,
        "following": live and shown.number == 1 and not line and request.GET.get("follow") != "off",
        "cursor": cursor,
    }
    part = "#lines" if request.htmx.target == "log-lines" else ""  # type: ignore[attr-defined]
    return render(request, f"jobs/log.html{part}", context)
